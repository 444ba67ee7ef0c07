"""What stands in docker/: every command and every setting of each file, taken out of it as its reader would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "docker"
_DEFAULTED = re.compile(r"\$\{\w+:-([^}]*)\}")


@dataclass(frozen=True)
class Process:
    """One container or unit: the words after `ginkgo`, every other command line of ours in it, and its variables."""

    name: str
    words: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]
    environment: dict[str, str]


def image() -> DockerfileParser:
    return DockerfileParser(path=str(DOCKER / "Dockerfile"), cache_content=True)


def image_environment() -> dict[str, str]:
    """The image's own settings."""
    return {k: v for k, v in image().envs.items() if k.startswith("GINKGO_")}


def compose() -> dict[str, Any]:
    """Compose's file with the defaults of its variables."""
    text = _DEFAULTED.sub(r"\1", (DOCKER / "compose.yaml").read_text())
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def compose_processes() -> Iterator[Process]:
    for name, service in compose()["services"].items():
        if service["image"].startswith("ginkgo-live"):
            test = service["healthcheck"].get("test", [])
            yield Process(
                name,
                tuple(service["command"]),
                tuple(_ours(test)),
                {**image_environment(), **_texts(service["environment"])},
            )


def manifests() -> list[dict[str, Any]]:
    """Every object of docker/k8s."""
    files = sorted(path for path in (DOCKER / "k8s").glob("*.yaml") if path.name != "kustomization.yaml")
    return [document for path in files for document in yaml.safe_load_all(path.read_text())]


def pod(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The pod's specification, where the object makes pods."""
    found: dict[str, Any] | None = manifest.get("spec", {}).get("template", {}).get("spec")
    return found


def kubernetes_processes() -> Iterator[Process]:
    (config,) = (m["data"] for m in manifests() if m["kind"] == "ConfigMap")
    secret = env_file(DOCKER / "k8s" / "secret.example.env")
    for manifest in manifests():
        for container in (pod(manifest) or {"containers": []})["containers"]:
            own = {e["name"]: e.get("value", "node-0") for e in container.get("env", [])}
            commands = [
                container[probe]["exec"]["command"]
                for probe in ("startupProbe", "readinessProbe", "livenessProbe")
                if "exec" in container.get(probe, {})
            ]
            if "lifecycle" in container:
                commands.append(container["lifecycle"]["preStop"]["exec"]["command"])
            yield Process(
                manifest["metadata"]["name"],
                tuple(word.replace("$(POD_NAME)", "node-0") for word in container["args"]),
                tuple(words for command in commands for words in _ours(command)),
                {**image_environment(), **config, **secret, **own},
            )


def units() -> dict[str, str]:
    """Each systemd service with what the common part adds to it."""
    folder = DOCKER / "systemd"
    common = (folder / "ginkgo-.service.d" / "10-common.conf").read_text()
    return {path.name: common + path.read_text() for path in sorted(folder.glob("*.service"))}


def unit_processes() -> Iterator[Process]:
    given = env_file(DOCKER / "systemd" / "settings.example.env")
    for name, text in units().items():
        (line,) = re.findall(r"^ExecStart=/opt/ginkgo/bin/ginkgo (.*)$", text, re.M)
        own = [pair for value in re.findall(r"^Environment=(.*)$", text, re.M) for pair in shlex.split(value)]
        yield Process(
            name,
            tuple(line.replace("%i", "node-1").split()),
            (),
            {**given, **{k: v for k, _, v in (pair.partition("=") for pair in own) if k.startswith("GINKGO_")}},
        )


def env_file(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _ours(command: list[str]) -> Iterator[tuple[str, ...]]:
    """The words after `ginkgo` in a health check, a probe or a hook; through a shell, too."""
    words = [word for word in command if word not in ("CMD", "CMD-SHELL", "NONE")]
    if words[:2] == ["sh", "-c"]:
        words = [w.replace("$POD_NAME", "node-0") for w in shlex.split(words[2]) if w != "exec"]
    if words:
        assert words[0] == "ginkgo", command
        yield tuple(words[1:])


def _texts(environment: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in environment.items()}
