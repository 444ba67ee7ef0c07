"""The plan, its history, nodes and commands through the API."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import redis
from django.contrib.auth.models import User

from portfolios import livestate
from portfolios.models import Command
from scheduler.models import Node, Plan, PlannedMove
from tests.api import callers
from tests.api.callers import Caller
from tests.ginkgo_site import books

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    return callers.user("owner", "operator", is_staff=True)


@pytest.fixture
def api(owner: User) -> Caller:
    return callers.by_token(owner)


@pytest.mark.usefixtures("redis_away")
def test_the_plan_says_who_runs_what_and_what_moves(owner: User, api: Caller) -> None:
    first, second = books.portfolio("First", owner), books.portfolio("Second", owner, ran=False)
    PlannedMove.objects.create(
        portfolio_id=first.id, source="node-1", target="node-2", epoch=3,
        started_at=datetime.now(UTC), deadline=datetime.now(UTC),
    )  # fmt: skip
    move = {"portfolio_id": first.id, "source": "", "target": "node-1", "kind": "place", "reason": "nobody had it"}
    Plan.objects.create(moves=[move], unplaced={second.id: "every node is full"}, trigger="beat")
    found = api.get("/api/schedule/plan").json()
    assert (found["trigger"], found["count"], found["moves"]) == ("beat", 2, [move])
    assert found["unplaced"] == {second.id: "every node is full"}
    here, nowhere = found["portfolios"]
    assert here == {
        "portfolio_id": first.id, "name": "First", "desired_state": "running", "status": "running",
        "node_id": "node-1", "epoch": 3, "moving_to": "node-2", "reason": "least loaded",
    }  # fmt: skip
    assert (nowhere["node_id"], nowhere["reason"]) == ("", "every node is full")
    assert api.get("/api/schedule/plan?node_id=node-1").json()["count"] == 1
    assert [p["name"] for p in api.get("/api/schedule/plan?ordering=-name").json()["portfolios"]] == ["Second", "First"]


@pytest.mark.usefixtures("redis_away")
def test_the_history_is_the_newest_first(api: Caller) -> None:
    for trigger in ("beat", "drain"):
        Plan.objects.create(trigger=trigger, node_count=2)
    found = api.get("/api/schedule/history?limit=1").json()
    assert (found["count"], found["results"][0]["trigger"]) == (2, "drain")


@pytest.mark.servers
def test_migrating_answers_as_specified(owner: User, api: Caller, live: redis.Redis) -> None:
    made = books.portfolio("Mine", owner)
    for node_id in ("node-1", "node-2"):
        Node.objects.create(node_id=node_id, state="online")
    wish = {"portfolio_id": made.id, "source_node": "node-1", "target_node": "node-2"}
    assert api.post("/api/schedule/migrate", wish).json() == {
        "success": True, "portfolio_id": made.id, "status": "migrating",
        "source_node": "node-1", "target_node": "node-2", "estimated_time": 30,
    }  # fmt: skip
    again = api.post("/api/schedule/migrate", wish)
    assert (again.status_code, again.json()["code"]) == (409, "CONFLICT")
    assert api.post("/api/schedule/migrate", {**wish, "target_node": "node-9"}).status_code == 404
    assert api.get(f"/api/commands?target_id={made.id}").json()["results"][0]["command_type"] == "portfolio.migrate_out"


@pytest.mark.servers
def test_a_nodes_figures_are_live_and_it_is_taken_out_of_service(owner: User, api: Caller, live: redis.Redis) -> None:
    made = books.portfolio("Mine", owner)
    Node.objects.create(node_id="node-1", state="online", max_portfolios=5)
    Node.objects.create(node_id="gone", state="offline")
    live.set(livestate.heartbeat_key("node-1"), datetime.now(UTC).isoformat(), ex=30)
    live.hset(livestate.node_info_key("node-1"), mapping={"state": "running", "host": "h1", "pid": 7})
    live.hset(livestate.metrics_key("node-1"), mapping={"queue_size": "12", "portfolio_count": 1})
    found = api.get("/api/nodes/node-1").json()
    assert (found["state"], found["queue_size"], found["assigned_count"], found["host"]) == ("running", 12, 1, "h1")
    assert found["assigned"] == [{"portfolio_id": made.id, "name": "Mine", "epoch": 3}]
    assert api.get("/api/nodes?state=offline").json()["results"][0]["node_id"] == "gone"
    answer = api.post("/api/nodes/node-1/disable").json()
    assert (answer["success"], answer["enabled"]) == (True, False)
    assert api.get("/api/nodes?enabled=false").json()["count"] == 1
    api.post("/api/nodes/node-1/enable")
    assert Node.objects.get(node_id="node-1").enabled


@pytest.mark.usefixtures("redis_away")
def test_what_is_asked_by_the_api_is_in_the_command_log_under_its_users_name(owner: User, api: Caller) -> None:
    made = books.portfolio("Mine", owner)
    Node.objects.create(node_id="node-2", state="online")
    asked = {
        "portfolio.stop": f"/api/portfolio/{made.id}/stop",
        "portfolio.start": f"/api/portfolio/{made.id}/start",
        "node.enable": "/api/nodes/node-2/enable",
        "engine.stop": "/api/engine/live/stop",
        "engine.start": "/api/engine/live/start",
    }
    for path in asked.values():
        assert api.post(path).status_code == 200, path
    assert api.post("/api/schedule/rebalance").status_code == 503
    found = {c["command_type"]: c for c in api.get("/api/commands").json()["results"]}
    assert {kind: found[kind]["state"] for kind in asked} == dict.fromkeys(asked, "done")
    assert found["scheduler.rebalance"]["state"] == "failed"
    assert {c["issued_by"] for c in found.values()} == {"owner"}


@pytest.mark.usefixtures("redis_away")
def test_commands_are_filtered_and_tell_their_fate(owner: User, api: Caller) -> None:
    made = books.portfolio("Mine", owner)
    Command.objects.create(command_type="portfolio.start", target_id=made.id, state="failed", result="no room")
    books.command(made)
    assert api.get("/api/commands").json()["count"] == 3, "with the wish that it was made with"
    (found,) = api.get("/api/commands?state=failed").json()["results"]
    assert found["result"] == "no room"
    assert api.get(f"/api/commands/{found['command_id']}").json() == found
