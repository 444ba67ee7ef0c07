"""Debian's own MariaDB and Redis, on free ports, with their data in a temporary directory, while a command runs.

`python -m tests.support.debian pytest -m servers` installs what is missing (when it may), starts both, sets
`GINKGO_TEST_SERVERS=debian`, `GINKGO_MYSQL__…` and `GINKGO_REDIS__…` in the environment of the command, and stops both
after it. The settings are read before any test is collected, so the servers have to be there before pytest is.
`--pairs 2` starts two of each, one for each of pytest's workers: `TEST_SERVERS_gw1` tells the second.

`python -m tests.support.debian --mortal ginkgo drill` starts them to be killed: each is started again two seconds after
it died, Redis keeps its data, and MariaDB's files lie on a disk of 400 MB in memory, if this is root's machine.
`DRILL_KILLS` and `DRILL_DISK` tell the drills so.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pymysql
import redis

from ginkgo_site.stack.ports import Ports
from tests.support.eventually import eventually

PACKAGES = {"mariadbd": "mariadb-server", "redis-server": "redis-server", "kcat": "kcat"}
HOST = "127.0.0.1"
_PORTS = Ports()


_DISK_MB = 400
_AGAIN_S = 2
# Its own session's leader: asked to stop, it stops the server first.
_KEEP = f"""trap 'kill $server; wait $server; exit 0' TERM
while :; do "$@" & server=$!; wait $server; sleep {_AGAIN_S}; done"""


class Unavailable(Exception):
    """A server cannot be had here; the message says what to install."""


def install_missing() -> None:
    """Have apt-get install what is missing, if this is root's Debian. Raises Unavailable otherwise."""
    missing = [package for program, package in PACKAGES.items() if find(program) is None]
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable(f"test-servers needs {names}: install them (Debian: sudo apt-get install {names})")
    _say(f"Installing {names}")
    # The packages would start services of their own on the usual ports: the tests start theirs, nothing else may run.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", *missing]):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise Unavailable(f"{' '.join(command)} failed: {said[-1] if said else f'exit code {done.returncode}'}")


def find(program: str) -> str | None:
    """Its path; servers live in /usr/sbin, which is not on everybody's path."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


@contextmanager
def pairs(number: int) -> Iterator[dict[str, str]]:
    """`servers`, so many times over; yields the environment of the first, which tells other workers theirs."""
    with ExitStack() as stack:
        environments = [stack.enter_context(servers()) for _ in range(number)]
        others = {f"TEST_SERVERS_gw{n}": json.dumps(each) for n, each in enumerate(environments) if n}
        yield environments[0] | others


@contextmanager
def servers(mortal: bool = False) -> Iterator[dict[str, str]]:
    """Both servers, running; yields the environment by which Ginkgo finds them."""
    with ExitStack() as stack:
        folder = disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ginkgo-debian-")))
        environment = {"GINKGO_TEST_SERVERS": "debian"}
        if mortal:
            environment["DRILL_KILLS"] = "1"
            if (small := stack.enter_context(_small_disk(folder / "disk"))) is not None:
                disk = small
                environment["DRILL_DISK"] = str(small)
        environment |= stack.enter_context(redis_server(folder, mortal))
        environment |= stack.enter_context(mariadb(disk, mortal))
        yield environment


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own, or None where we may not mount one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "ginkgo-drill", str(folder)],
        capture_output=True,
        check=False,
    )
    try:
        yield folder if done.returncode == 0 else None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def redis_server(folder: Path, mortal: bool = False) -> Iterator[dict[str, str]]:
    """A Redis of its own on a free port; yields `GINKGO_REDIS__…`."""
    port = free_port()
    data = folder / "redis"
    data.mkdir()
    command = [_need("redis-server"), "--port", str(port), "--bind", HOST, "--dir", str(data), "--save", ""]
    if mortal:
        command += ["--appendonly", "yes"]

    def answers() -> bool:
        try:
            return bool(redis.Redis(HOST, port, socket_timeout=1).ping())
        except redis.RedisError:
            return False

    with _running("redis", command, folder, mortal) as process:
        eventually(lambda: answers() or _ended(process, folder), timeout=15, saying="redis-server answering")
        yield {"GINKGO_REDIS__HOST": HOST, "GINKGO_REDIS__PORT": str(port)}


@contextmanager
def mariadb(folder: Path, mortal: bool = False) -> Iterator[dict[str, str]]:
    """A MariaDB of its own on a free port with an empty `ginkgo` database; yields `GINKGO_MYSQL__…`."""
    port, data, socket_path = free_port(), folder / "mariadb", folder / "mariadb.sock"
    user = getpass.getuser()
    subprocess.run(
        [
            *(_need("mariadb-install-db"), "--no-defaults", f"--datadir={data}", f"--user={user}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    command = [
        *(_need("mariadbd"), "--no-defaults", f"--datadir={data}", f"--user={user}", f"--port={port}"),
        *(f"--socket={socket_path}", f"--bind-address={HOST}", "--skip-name-resolve", "--max-connections=300"),
    ]
    if mortal:
        command += [f"--pid-file={folder / 'mariadb.pid'}", "--innodb-log-file-size=16M", "--innodb-fast-shutdown=2"]

    def prepared() -> bool:
        try:
            root = pymysql.connect(unix_socket=str(socket_path), user="root", connect_timeout=1)
            with root, root.cursor() as cursor:
                cursor.execute("CREATE DATABASE ginkgo CHARACTER SET utf8mb4")
                cursor.execute("CREATE USER ginkgo@'127.0.0.1' IDENTIFIED BY 'of-the-tests'")
                cursor.execute("GRANT ALL ON *.* TO ginkgo@'127.0.0.1'")
            return True
        except pymysql.err.OperationalError:
            return False

    with _running("mariadb", command, folder, mortal) as process:
        eventually(lambda: prepared() or _ended(process, folder), timeout=60, saying="mariadbd answering")
        yield {
            "GINKGO_MYSQL__HOST": HOST,
            "GINKGO_MYSQL__PORT": str(port),
            "GINKGO_MYSQL__USER": "ginkgo",
            "GINKGO_MYSQL__PASSWORD": "of-the-tests",
        }


def free_port() -> int:
    """Below the range from which outgoing connections get theirs: a server that is away keeps its port."""
    return _PORTS.any()


@contextmanager
def _running(
    name: str, command: Sequence[str], folder: Path, mortal: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it; if `mortal`, it is started again whenever it ends."""
    if mortal:
        command = ["/bin/sh", "-c", _KEEP, "keep", *command]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ended(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """False while it runs; raises Unavailable with its last words when it has ended."""
    if process.poll() is None:
        return False
    logs = "\n".join(log.read_text(errors="replace")[-500:] for log in sorted(folder.glob("*.log")))
    raise Unavailable(f"{process.args!r} ended with {process.returncode}: {logs}")


def _need(program: str) -> str:
    path = find(program)
    if path is None:
        raise Unavailable(f"{program} is not installed (Debian: apt-get install {' '.join(PACKAGES.values())})")
    return path


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(words: Sequence[str]) -> int:
    mortal = words[:1] == ["--mortal"]
    paired = words[:1] == ["--pairs"]
    number = int(words[1]) if paired else 1
    command = words[2 if paired else mortal :]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with us
    try:
        install_missing()
        with servers(mortal) if mortal else pairs(number) as environment:
            _say("MariaDB on {GINKGO_MYSQL__PORT}, Redis on {GINKGO_REDIS__PORT}".format(**environment))
            try:
                return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode
            except KeyboardInterrupt:
                return 130
    except Unavailable as error:
        _say(f"test-servers: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["true"]))
