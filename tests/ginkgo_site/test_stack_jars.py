"""Kafka's jars: one clear line without a network, and half a download is never taken for a whole one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jgo.maven import MavenContext

from ginkgo_site.config import Config, load
from ginkgo_site.stack import jars
from ginkgo_site.stack.errors import StackError
from tests.support.stack import run

JAR = b"PK" + bytes(range(256)) * 1000


def config_with(cache: Path, repository: str) -> Config:
    overrides = {"embedded.cache": str(cache), "embedded.maven_repository": repository}
    return load(overrides, environ={"GINKGO_CONFIG_DIR": str(cache)})[0]


def nothing(done: int, total: int) -> None:
    """No bar in a test."""


@contextmanager
def repository(sent: list[bytes]) -> Iterator[str]:
    """A Maven repository of one jar: each request for it takes the next body, announced in the full length."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            checksum = self.path.endswith(".sha1")
            body = hashlib.sha1(JAR).hexdigest().encode() if checksum else sent.pop(0)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) if checksum else len(JAR)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="repository")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def fetch(cache: Path, url: str) -> Path:
    context = MavenContext(repo_cache=cache, remote_repos={"central": url}, resolver=jars._resolver(nothing))
    return Path(context.project("org.example", "a").at_version("1.0").artifact().resolve())


@pytest.mark.parametrize("broken", [JAR[: len(JAR) // 2], JAR[:-1] + b"X"], ids=["cut off", "damaged"])
def test_a_broken_download_does_not_poison_the_next_try(broken: bytes, tmp_path: Path) -> None:
    import requests

    with repository([broken, JAR]) as url:
        with pytest.raises(requests.RequestException):
            fetch(tmp_path, url)
        assert not list(tmp_path.rglob("*.jar"))
        assert fetch(tmp_path, url).read_bytes() == JAR


def test_without_a_network_the_first_download_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    config = config_with(tmp_path, "http://127.0.0.1:1/maven2")
    with pytest.raises(StackError) as caught:
        jars.class_path(config, nothing)
    message = str(caught.value)
    assert "\n" not in message
    assert "Apache Kafka 4.1.0" in message
    assert "127.0.0.1:1" in message
    assert "GINKGO_KAFKA__BOOTSTRAP_SERVERS" in message


def test_without_a_network_the_command_says_it_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    away: dict[str, str | None] = {
        "GINKGO_EMBEDDED__CACHE": str(tmp_path / "cache"),
        "GINKGO_EMBEDDED__MAVEN_REPOSITORY": "http://127.0.0.1:1/maven2",
    }
    result = run(tmp_path, "stack", "start", variables=away)
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert "could not be fetched" in result.stderr
    assert not (tmp_path / "stack.json").exists()


def test_jars_are_believed_only_while_all_are_there_in_full(tmp_path: Path) -> None:
    config = config_with(tmp_path, "http://127.0.0.1:1/maven2")
    jar = tmp_path / "maven" / "kafka.jar"
    jar.parent.mkdir()
    jar.write_bytes(JAR)
    (tmp_path / "kafka-4.1.0.json").write_text(f'{{"maven/kafka.jar": {len(JAR)}}}')
    assert jars.class_path(config, nothing) == [jar]
    jar.write_bytes(JAR[:100])
    assert not jars.are_cached(config)
    jar.unlink()
    assert not jars.are_cached(config)
