"""docker/ is kept honest: valid to those who read it, and each command and setting in it is one that there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from jsonschema import Draft7Validator

from ginkgo_site import config, probe
from ginkgo_site.config import Config
from ginkgo_site.supervisor import platform
from tests.ginkgo_site.deployment import files
from tests.ginkgo_site.deployment.files import DOCKER, ROOT, Process
from tests.support.commandline import parse_words

COMPOSE, KUBERNETES, UNITS = (
    list(files.compose_processes()), list(files.kubernetes_processes()), list(files.unit_processes()),
)  # fmt: skip
ALL = [*COMPOSE, *KUBERNETES, *UNITS]
SERVERS = {"mysql", "redis", "kafka", "clickhouse", "mongodb"}
KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize("process", ALL, ids=lambda p: p.name)
def test_each_command_is_one_that_there_is(process: Process) -> None:
    for words in (process.words, *process.others):
        branch = parse_words(list(words))
        if branch.path == ("probe",):
            probe._parse(words[1:])


@pytest.mark.parametrize("process", ALL, ids=lambda p: p.name)
def test_the_configuration_loads_with_each_one_s_variables_and_every_server_is_given(
    process: Process, tmp_path: Path
) -> None:
    given = {"GINKGO_CONFIG_DIR": "/nowhere"}
    secret = tmp_path / "secret"
    secret.write_text(f"{KEY}\n")
    for name, value in process.environment.items():
        if name.endswith("_FILE"):
            given[name] = str(secret)
        elif name != "GINKGO_CONFIG_DIR":
            given[name] = value or KEY  # to be filled in
    loaded, _ = config.load(environ=given)
    for section in ("mysql", "redis", "clickhouse", "mongodb"):
        assert getattr(loaded, section).host
        assert getattr(loaded, section).password.get_secret_value() == KEY
    assert loaded.kafka.bootstrap_servers
    assert loaded.web.secret_key is not None and loaded.engine.door_secret.get_secret_value() == KEY


@pytest.mark.parametrize("processes", (COMPOSE, KUBERNETES, UNITS), ids=("compose", "kubernetes", "systemd"))
def test_every_process_of_the_platform_runs(processes: list[Process]) -> None:
    wanted = [*platform.programs(Config(), 1, "sample", 1.0), *platform.late_programs(Config())]
    heads = {" ".join(program.argv[3:5]) if len(program.argv) > 4 else program.argv[3] for program in wanted}
    assert {" ".join(process.words[:2]) for process in processes} == {*heads, "data init"}


def test_no_secret_stands_in_any_file() -> None:
    for path in DOCKER.rglob("*"):
        if path.is_file():
            given = re.findall(
                r"^[^#\n]*\b(\w*(?:PASSWORD|SECRET|TOKEN|SECRET_KEY))\b[ \t]*[:=][ \t]*(\S+)", path.read_text(), re.M
            )
            assert not [pair for pair in given if not pair[1].startswith(('"$$(cat', "'"))], path


class TestDockerfile:
    def test_the_image_is_small_and_nobody_s(self) -> None:
        stages = files.image().structure
        bases = [entry["value"] for entry in stages if entry["instruction"] == "FROM"]
        last = max(i for i, entry in enumerate(stages) if entry["instruction"] == "FROM")
        final = stages[last:]
        assert all(re.match(r"python:3\.\d+\.\d+-slim-", base) for base in bases) and len(bases) == 2
        assert [e["value"] for e in final if e["instruction"] == "USER"] == ["10001:10001"]
        assert {e["instruction"] for e in final} >= {"HEALTHCHECK", "ENTRYPOINT", "CMD", "STOPSIGNAL"}
        run = " ".join(e["value"] for e in final if e["instruction"] == "RUN")
        assert not re.search(r"\b(pip|gcc|g\+\+|build-essential|git|curl|make)\b", run)

    def test_its_commands_are_ours(self) -> None:
        said = {e["instruction"]: e["value"] for e in files.image().structure}
        assert json.loads(said["ENTRYPOINT"]) == ["tini", "--", "ginkgo"]
        parse_words(json.loads(said["CMD"]))
        parse_words(json.loads(said["HEALTHCHECK"].partition(" CMD ")[2])[1:])

    def test_what_it_copies_is_there_and_reaches_the_builder(self) -> None:
        kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        copied = {
            word
            for entry in files.image().structure
            if entry["instruction"] == "COPY" and not entry["value"].startswith("--from")
            for word in entry["value"].split()[:-1]
        }
        assert copied == kept
        assert all((ROOT / name).exists() for name in copied)

    def test_every_package_is_copied(self) -> None:
        packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
        assert packages <= {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()}

    def test_every_page_and_style_is_installed_with_its_package(self) -> None:
        kinds = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
        packages = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"]
        data = [
            path.relative_to(package)
            for package in packages
            for path in package.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc")
        ]
        assert data
        assert [path for path in data if f"{path.parts[0]}/**" not in kinds] == []

    def test_what_is_left_out_is_among_the_requirements(self) -> None:
        (pattern,) = re.findall(r"grep -vE '(.*?)'", (DOCKER / "Dockerfile").read_text())
        left_out = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if re.match(pattern, line)]
        assert len(left_out) == pattern.count("|") + 1


class TestCompose:
    services: dict[str, Any] = files.compose()["services"]

    def test_is_valid(self) -> None:
        PyCompose.from_yaml(yaml.safe_dump(files.compose(), sort_keys=False)).validate()

    def test_what_is_misspelled_would_not_be(self) -> None:
        wrong = files.compose()
        wrong["services"]["web"]["heathcheck"] = {}
        with pytest.raises(ValueError, match="heathcheck"):
            PyCompose.from_yaml(yaml.safe_dump(wrong, sort_keys=False))

    def test_servers_first_then_the_tables_then_the_processes(self) -> None:
        assert self.services["init"]["depends_on"] == {name: {"condition": "service_healthy"} for name in SERVERS}
        for process in COMPOSE:
            if process.name != "init":
                waits = self.services[process.name]["depends_on"]
                assert waits["init"] == {"condition": "service_completed_successfully"}

    @pytest.mark.parametrize("name", sorted(SERVERS))
    def test_each_server_keeps_its_data_and_says_when_it_is_ready(self, name: str) -> None:
        server = self.services[name]
        assert server["healthcheck"]["test"]
        assert any(volume.startswith(f"{name}:") for volume in server["volumes"])
        assert re.search(r":\d[\w.-]*$", server["image"]), "the version is pinned"
        assert "ports" not in server, "nobody outside needs it"

    @pytest.mark.parametrize("process", COMPOSE, ids=lambda p: p.name)
    def test_each_process_has_the_time_to_stop_in_order(self, process: Process) -> None:
        service = self.services[process.name]
        assert int(service["stop_grace_period"].removesuffix("s")) > Config().node.stop_timeout
        assert service["read_only"] and service["cap_drop"] == ["ALL"]

    def test_what_needs_a_writable_home_has_one(self) -> None:
        for process in COMPOSE:
            service = self.services[process.name]
            places = [*service["tmpfs"], *service.get("volumes", ())]
            assert any("/var/lib/ginkgo" in place for place in places), process.name

    def test_every_secret_is_in_the_example_s_list(self) -> None:
        example = (DOCKER / ".env.example").read_text()
        (listed,) = re.findall(r"for name in ([\w ]+)", example)
        assert set(listed.split()) == set(files.compose()["secrets"])

    def test_the_example_s_variables_are_those_that_it_reads(self) -> None:
        read = set(re.findall(r"\$\{(\w+):-", (DOCKER / "compose.yaml").read_text()))
        assert set(files.env_file(DOCKER / ".env.example")) == read


class TestKubernetes:
    schema = json.loads((Path(__file__).parent / "kubernetes-1.34.json").read_text())

    def faults(self, manifest: dict[str, Any]) -> list[str]:
        name = self.schema["kinds"][f"{manifest['apiVersion']}/{manifest['kind']}"]
        wanted = {"$ref": f"#/definitions/{name}", "definitions": self.schema["definitions"]}
        return [f"{error.json_path}: {error.message}" for error in Draft7Validator(wanted).iter_errors(manifest)]

    def test_every_object_is_valid(self) -> None:
        for manifest in files.manifests():
            assert self.faults(manifest) == [], manifest["metadata"]["name"]

    def test_what_is_misspelled_would_not_be(self) -> None:
        manifest = next(m for m in files.manifests() if m["kind"] == "StatefulSet")
        files.pod(manifest)["containers"][0]["readynessProbe"] = {}  # type: ignore[index]
        manifest["spec"]["replicas"] = "many"
        assert len(self.faults(manifest)) == 2

    def test_all_files_are_applied(self) -> None:
        listed = yaml.safe_load((DOCKER / "k8s" / "kustomization.yaml").read_text())["resources"]
        there = {path.name for path in (DOCKER / "k8s").glob("*.yaml")} - {"kustomization.yaml"}
        assert set(listed) == there

    @pytest.mark.parametrize(
        "manifest", [m for m in files.manifests() if files.pod(m)], ids=lambda m: m["metadata"]["name"]
    )
    def test_every_pod_is_restricted_and_has_its_limits(self, manifest: dict[str, Any]) -> None:
        pod = files.pod(manifest)
        assert pod is not None
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        assert not pod["enableServiceLinks"], "a Service's variables would be taken for settings"
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["resources"]["limits"]["memory"]
            assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
        if manifest["kind"] != "Job":
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            assert manifest["spec"]["selector"]["matchLabels"].items() <= labels.items()
            assert pod["terminationGracePeriodSeconds"] > Config().node.stop_timeout

    def test_a_node_is_drained_before_it_stops_and_has_the_time_for_both(self) -> None:
        node = next(m for m in files.manifests() if m["kind"] == "StatefulSet")
        pod = files.pod(node)
        assert pod is not None
        drain = " ".join(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"])
        (wait,) = re.findall(r"node drain .* --wait (\d+)", drain)
        assert pod["terminationGracePeriodSeconds"] > int(wait) + Config().node.stop_timeout
        # Else it would stay drained for good.
        assert "--enable" in pod["containers"][0]["args"]

    def test_a_budget_keeps_all_nodes_but_one(self) -> None:
        budgets = {m["metadata"]["name"]: m["spec"] for m in files.manifests() if m["kind"] == "PodDisruptionBudget"}
        node = next(m for m in files.manifests() if m["kind"] == "StatefulSet")
        assert budgets["node"]["maxUnavailable"] == 1
        assert budgets["node"]["selector"] == node["spec"]["selector"]


class TestUnits:
    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
    def test_systemd_finds_nothing_wrong(self, tmp_path: Path) -> None:
        program = tmp_path / "ginkgo"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        for path in (DOCKER / "systemd").rglob("ginkgo*"):
            if path.is_file():
                _copy(path, tmp_path / path.relative_to(DOCKER / "systemd"), program)
        for path in (DOCKER / "systemd").glob("*.d/*.conf"):
            _copy(path, tmp_path / path.relative_to(DOCKER / "systemd"), program)
        names = ["ginkgo.target", *(name.replace("@", "@node-1") for name in files.units())]
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *names],
            env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, [line for line in done.stderr.splitlines() if "ginkgo" in line]) == (0, [])

    @pytest.mark.parametrize("name", files.units())
    def test_each_is_kept_running_and_has_the_time_to_stop_in_order(self, name: str) -> None:
        text = files.units()[name]
        (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.M)
        assert int(stop) > Config().node.stop_timeout
        assert "KillMode=mixed" in text and re.search(r"^Restart=always$", text, re.M)

    def test_the_target_wants_every_process_of_this_machine(self) -> None:
        wanted = re.findall(r"ginkgo-\w+\.service", (DOCKER / "systemd" / "ginkgo.target").read_text())
        assert set(wanted) == set(files.units()) - {"ginkgo-init.service", "ginkgo-node@.service"}


def _copy(source: Path, target: Path, program: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source.read_text().replace("/opt/ginkgo/bin/ginkgo", str(program)))
