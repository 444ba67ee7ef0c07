"""One cluster for all of these tests: the embedded servers, their database made ready, and a node that most share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator

import pytest

from market import bus
from tests.support.cluster import Cluster, NodeProcess
from tests.support.stack import RunningStack

_numbers = itertools.count(200)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what its node said last: nobody can look it up on a machine that is gone."""
    report = yield
    node = getattr(item, "funcargs", {}).get("node")
    if report.failed and isinstance(node, NodeProcess):
        ended = node.process.poll()
        last = "\n".join(node.said().splitlines()[-40:])
        report.sections.append((f"node {node.node_id}, {'running' if ended is None else f'ended: {ended}'}", last))
    return report


@pytest.fixture(scope="package")
def cluster(stack: RunningStack, django_db_blocker: pytest.FixtureRequest) -> Iterator[Cluster]:
    cluster = Cluster(stack, django_db_blocker.unblock)  # type: ignore[attr-defined]
    yield cluster
    cluster.close()


@pytest.fixture(scope="package")
def node(cluster: Cluster) -> NodeProcess:
    """A node that lives through all tests: none may stop it."""
    return cluster.start("shared")


@pytest.fixture(scope="package")
def _spares() -> list[NodeProcess]:
    return []


@pytest.fixture
def spare(cluster: Cluster, _spares: list[NodeProcess]) -> Callable[[], NodeProcess]:
    """A node that a test may do anything to; one that it leaves alive serves the next test."""

    def take() -> NodeProcess:
        if not _spares or _spares[-1].process.poll() is not None:
            _spares.append(cluster.start(f"spare-{len(_spares)}", GINKGO_NODE__STOP_TIMEOUT="6"))
        return _spares[-1]

    return take


@pytest.fixture
def new_code() -> Callable[[int | None], str]:
    """A code nobody else uses, in the given partition, if that matters."""

    def make(partition: int | None = None) -> str:
        while True:
            code = f"601{next(_numbers)}.SH"
            if partition is None or bus.partition_of(code, 10) == partition:
                return code

    return make
