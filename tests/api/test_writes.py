"""Every write is audited, and a POST with an Idempotency-Key is done once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client

from market import switch
from portfolios.models import AuditEntry, IdempotencyRecord, Portfolio
from scheduler.models import Node
from tests.api import callers, world
from tests.api.callers import Caller
from tests.ginkgo_site import books

pytestmark = pytest.mark.django_db

NEW = {"name": "Mine", "initial_cash": 1000, "config": books.SAMPLES[0].config()}


@pytest.fixture
def chief() -> User:
    return callers.user("chief", is_superuser=True, is_staff=True)


@pytest.fixture
def api(chief: User) -> Caller:
    return callers.by_token(chief)


@pytest.mark.servers
def test_every_write_leaves_an_audit_entry(live: redis.Redis, chief: User, api: Caller) -> None:
    things = world.populated(chief)
    Node.objects.create(node_id="node-9", state="online")
    # What stops runs no more; what is deleted is there no more, or is another.
    last = {"portfolio_stop": 1, "portfolio_delete": 2, "alert_channel_delete": 2, "alert_rule_delete": 2}
    spare = books.portfolio("Spare", chief, ran=False)
    writes = [r for r in world.requests(*things) if r.scope in ("trade", "operate")]
    for request in sorted(writes, key=lambda r: last.get(r.operation, 0)):
        path = f"/api/portfolio/{spare.id}" if request.operation == "portfolio_delete" else request.path
        before = AuditEntry.objects.count()
        answer = api(request.method, path, request.body)
        assert answer.status_code in (200, 201, 204), (request.operation, answer.content)
        assert AuditEntry.objects.count() == before + 1, request.operation
        entry = AuditEntry.objects.first()
        assert entry is not None
        assert (entry.who, entry.via, entry.address) == ("chief", "token", "127.0.0.1")
        assert (entry.method, entry.path) == (request.method, path)
    assert len(writes) >= 15


@pytest.mark.usefixtures("redis_away")
class TestAudit:
    def test_it_says_what_changed(self, chief: User, api: Caller) -> None:
        made = books.portfolio("Mine", chief)
        config = {"strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 2, "long_period": 9}}}
        api("PUT", f"/api/portfolio/{made.id}", {"config": config}, X_Forwarded_For="10.1.2.3")
        entry = AuditEntry.objects.get()
        assert (entry.action, entry.target) == ("portfolio.update", made.id)
        assert entry.changes == {"config.strategy.params.long_period": [3, 9]}
        assert entry.forwarded_for == "10.1.2.3"

    def test_a_keys_writes_name_the_key(self, chief: User) -> None:
        caller = callers.by_key(chief)
        caller.post("/api/engine/live/stop")
        entry = AuditEntry.objects.get()
        assert entry.via == f"key {caller.headers['x-api-key'].split('_')[1]}"
        assert entry.changes == {"switch": ["on", "off"]}
        assert not switch.is_on()

    def test_what_was_refused_is_not_in_it(self, api: Caller) -> None:
        api.post("/api/portfolio", {**NEW, "initial_cash": -1})
        assert not AuditEntry.objects.exists()

    def test_a_page_of_the_admin_shows_it_and_cannot_change_it(self, chief: User, api: Caller, client: Client) -> None:
        api.post("/api/engine/live/stop")
        client.force_login(chief)
        entry = AuditEntry.objects.get()
        page = client.get(f"/admin/portfolios/auditentry/{entry.pk}/change/").content.decode()
        assert "engine.stop" in page and 'name="_save"' not in page
        assert client.get("/admin/portfolios/auditentry/").status_code == 200
        assert client.get("/admin/portfolios/apikey/").status_code == 200
        assert client.post(f"/admin/portfolios/auditentry/{entry.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.usefixtures("redis_away")
class TestOnce:
    def post(self, api: Caller, body: Any = None, key: str = "k-1") -> Any:
        return api.post("/api/portfolio", body or NEW, Idempotency_Key=key)

    def test_a_repeated_post_gets_the_first_answer_and_does_nothing(self, api: Caller) -> None:
        first, second = self.post(api), self.post(api)
        assert (second.status_code, second.content) == (201, first.content)
        assert second.headers["Location"] == first.headers["Location"]
        assert second.headers["ETag"] == first.headers["ETag"]
        assert "Idempotent-Replayed" not in first.headers
        assert second.headers["Idempotent-Replayed"] == "true"
        assert (Portfolio.objects.count(), AuditEntry.objects.count()) == (1, 1)

    def test_the_same_key_with_another_body_is_refused(self, api: Caller) -> None:
        self.post(api)
        answer = self.post(api, {**NEW, "name": "Other"})
        assert (answer.status_code, answer.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
        assert Portfolio.objects.count() == 1

    def test_the_same_key_for_another_route_is_refused(self, api: Caller) -> None:
        self.post(api)
        answer = api.post("/api/engine/live/stop", Idempotency_Key="k-1")
        assert answer.json()["code"] == "IDEMPOTENCY_KEY_REUSED"
        assert switch.is_on()

    def test_keys_of_two_users_do_not_meet(self, api: Caller) -> None:
        self.post(api)
        assert self.post(callers.by_token(callers.user("other"))).status_code == 201
        assert Portfolio.objects.count() == 2

    def test_capitals_make_another_key(self, api: Caller) -> None:
        self.post(api, key="a")
        self.post(api, key="A")
        assert Portfolio.objects.count() == 2

    def test_an_error_is_not_kept(self, api: Caller) -> None:
        assert self.post(api, {**NEW, "initial_cash": 0}).status_code == 400
        assert self.post(api).status_code == 201

    def test_an_error_outside_a_transaction_is_not_kept_either(self, api: Caller) -> None:
        assert api.post("/api/schedule/rebalance", Idempotency_Key="k").status_code == 503
        assert not IdempotencyRecord.objects.exists()

    def test_one_under_way_is_a_409(self, api: Caller, chief: User) -> None:
        self.post(api)
        IdempotencyRecord.objects.update(status=None)
        answer = self.post(api)
        assert (answer.status_code, answer.json()["code"]) == (409, "REQUEST_IN_PROGRESS")
        assert answer.headers["Retry-After"]

    def test_one_whose_process_died_is_done_again(self, api: Caller) -> None:
        self.post(api)
        IdempotencyRecord.objects.update(status=None, begun_at=datetime.now(UTC) - timedelta(minutes=2))
        assert self.post(api).status_code == 201
        assert Portfolio.objects.count() == 2

    def test_after_a_day_a_key_is_new(self, api: Caller) -> None:
        self.post(api)
        IdempotencyRecord.objects.update(begun_at=datetime.now(UTC) - timedelta(hours=25))
        self.post(api)
        assert (Portfolio.objects.count(), IdempotencyRecord.objects.count()) == (2, 1)

    @pytest.mark.parametrize("key", ["with space", "", "x" * 101, "ü"])
    def test_a_key_that_is_none_is_refused(self, api: Caller, key: str) -> None:
        assert self.post(api, key=key).status_code == 400
        assert not Portfolio.objects.exists()
