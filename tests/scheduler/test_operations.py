"""What an operator asks for: accepted with what follows, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from portfolios.models.portfolio import DesiredState
from portfolios.ownership import Ownership
from scheduler import cycle, operations
from scheduler.models import Node, PlannedMove, Requirement
from tests.scheduler.conftest import Herd, owner_of

Make = Callable[..., str]


@pytest.fixture
def two_nodes(herd: Herd, portfolio: Make) -> Herd:
    portfolio("p1", "n1", 1)
    herd.beat("n1", "n2", places=1)
    cycle.tick()
    return herd


def test_migrating_asks_the_source(two_nodes: Herd) -> None:
    answer = operations.migrate("p1", "n2", issued_by="alice")
    assert answer.accepted
    assert (answer.source_node, answer.target_node, answer.estimated_time) == ("n1", "n2", 30)
    assert two_nodes.queue("n1")[-1]["command_type"] == "portfolio.migrate_out"
    assert PlannedMove.objects.get().reason == "asked for by alice"


def test_migrating_from_a_dead_node_happens_at_once(herd: Herd, portfolio: Make) -> None:
    portfolio("p1", "dead", 4)
    Node.objects.create(node_id="n2", state="online")
    assert operations.migrate("p1", "n2").accepted
    assert owner_of("p1") == Ownership("p1", "n2", 5)


def refused(portfolio_id: str, target: str, source: str = "") -> str:
    answer = operations.migrate(portfolio_id, target, source)
    assert not answer.accepted
    assert not PlannedMove.objects.exists()
    return answer.reason


def test_migrations_that_cannot_be_are_refused_with_the_reason(two_nodes: Herd, portfolio: Make) -> None:
    portfolio("idle", desired_state=DesiredState.STOPPED)
    portfolio("p2", "n2", 1)
    assert refused("nothing", "n2") == "there is no portfolio nothing"
    assert refused("idle", "n2") == "portfolio 'idle' is not to run: start it first"
    assert refused("p1", "n1") == "portfolio 'p1' is on n1 already"
    assert refused("p1", "n2", source="n9") == "portfolio 'p1' is on n1, not on n9"
    assert refused("p1", "n9") == "there is no node 'n9': see 'ginkgo scheduler nodes'"
    assert refused("p1", "n2") == "node n2 is full (1 of 1 places taken)"
    Node.objects.filter(node_id="n2").update(labels={"market": ["us"]})
    assert refused("p1", "n2") == "node n2 does not take market cn"
    Node.objects.filter(node_id="n2").update(enabled=False)
    assert refused("p1", "n2") == "node n2 is drained: enable it first"
    Node.objects.filter(node_id="n2").update(state="offline")
    assert refused("p1", "n2") == "node n2 is offline"


def test_a_requirement_binds_an_operator_too(two_nodes: Herd) -> None:
    Requirement.objects.create(portfolio_id="p1", labels={"region": "sh"})
    assert refused("p1", "n2") == "node n2 does not take market cn and region sh"


def test_draining_and_enabling(two_nodes: Herd) -> None:
    assert operations.drain("n1").accepted
    cycle.check()
    assert PlannedMove.objects.get().target == "n2"
    assert operations.enable("n1").accepted
    assert Node.objects.get(node_id="n1").enabled


def test_an_unknown_node_is_refused(db: None) -> None:
    for answer in (operations.drain("n9"), operations.enable("n9"), operations.shut_down("n9")):
        assert answer.reason == "there is no node 'n9': see 'ginkgo scheduler nodes'"


def test_shutting_down_tells_the_node(two_nodes: Herd) -> None:
    assert operations.shut_down("n2").accepted
    assert two_nodes.queue("n2")[-1]["command_type"] == "node.shutdown"
    two_nodes.leave("n2")
    cycle.check()
    assert operations.shut_down("n2").reason == "node n2 is offline"
