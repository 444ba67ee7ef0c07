"""All wanted drills on servers of their own: the embedded stack in a home that is thrown away afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence

import msgspec

from ginkgo_site.bench import servers
from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.programs import module
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.outcome import Outcome
from ginkgo_site.drill.profiles import FAST
from ginkgo_site.supervisor.detach import environment


def run(names: Sequence[str]) -> Iterator[Outcome]:
    """Each as it is judged. Raises DrillError where one cannot be run."""
    try:
        with servers.running() as env:
            process = subprocess.Popen(
                module("ginkgo_site.drill.one", *names),
                env={**environment(), **env, **FAST},  # what it asks for itself goes by the cluster's own intervals
                stdin=subprocess.PIPE,  # its end stops the cluster, however we end
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    yield msgspec.json.decode(line, type=Outcome)
                if process.wait(60):
                    raise DrillError(f"the drills were not run to their end (exit code {process.returncode})")
            finally:
                assert process.stdin is not None
                process.stdin.close()
                process.wait(60)
    except BenchError as error:
        raise DrillError(str(error)) from None
