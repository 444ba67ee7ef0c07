"""`ginkgo alerts`: keep the service running, look at alerts, follow them, test a channel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Argument, Exit, Option

from alerts import showing
from alerts.digest import SEVERITIES
from alerts.errors import AlertError
from alerts.queries import MOST, Question, ask
from alerts.store import AlertStore
from market.bus import KafkaUnavailable
from portfolios.console import plain_errors, print_json, print_table

log = logging.getLogger(__name__)

Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]
Severity = Annotated[str | None, Option("--severity", help="info, warning or critical.")]
Source = Annotated[str | None, Option("--source", help="Only from this one: a node's id, engine, scheduler …")]
Type = Annotated[str | None, Option("--type", help="Only of this type: queue_full, node_offline …")]
Since = Annotated[str | None, Option("--since", help="90s, 15m, 2h, 7d ago; or a moment in RFC 3339.")]
Until = Annotated[str | None, Option("--until", help="Likewise.")]
Limit = Annotated[int, Option("--limit", min=1, max=MOST, help="At most so many, the newest.")]
Each = Annotated[bool, Option("--each", help="Every single alert, not one line for what keeps coming.")]
Episode = Annotated[str | None, Option("--episode", help="Every alert of this episode (see --json).")]


class Command(TyperCommand):
    help = "Alerts: store and tell them, look at them."
    requires_system_checks = []

    @initialize()
    def init(self) -> None:
        """Alerts: store and tell them, look at them."""

    @command()
    def run(self) -> None:
        """Store alerts in MongoDB and notify by the users' rules, until stopped."""
        from alerts.service import AlertsError, run_alerts
        from market.stopping import stop_on_signals

        stop = threading.Event()
        stop_on_signals(stop)
        try:
            run_alerts(stop)
        except AlertsError as error:
            raise CommandError(str(error)) from None

    @command(name="list")
    def list_(
        self,
        severity: Severity = None,
        source: Source = None,
        alert_type: Type = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 20,
        each: Each = False,
        episode: Episode = None,
        as_json: Json = False,
    ) -> None:
        """The newest alerts of the last seven days, what keeps coming in one entry.

        ginkgo alerts list --severity critical --since 2h
        """
        now = datetime.now(UTC)
        question = Question(
            start=_moment("--since", since, now),
            end=_moment("--until", until, now),
            severity=_severity(severity),
            source=source,
            alert_type=alert_type,
            episode=episode,
            limit=limit,
            each=each,
        )
        store = AlertStore()
        try:
            with _plain_errors():
                answer = ask(store, question)
        finally:
            store.close()
        if as_json:
            return print_json(answer.as_dict())
        return showing.print_answer(answer)

    @command()
    def follow(
        self, severity: Severity = None, source: Source = None, alert_type: Type = None, as_json: Json = False
    ) -> None:
        """Every alert as it is raised, until Ctrl-C. Reads Kafka itself: it needs neither MongoDB nor `alerts run`.

        With --json, one document a line.
        """
        from alerts.tail import tail
        from market.stopping import stop_on_signals

        stop = threading.Event()
        stop_on_signals(stop)
        lowest = _severity(severity)
        with _plain_errors():
            for alert in tail(stop):
                if lowest not in (None, alert.severity) or source not in (None, alert.source):
                    continue
                if alert_type in (None, alert.alert_type):
                    showing.print_one(alert, as_json)

    @command()
    def channels(self, user: Annotated[str | None, Option("--user", help="Only of this user.")] = None,
                 as_json: Json = False) -> None:  # fmt: skip
        """The ways by which users are notified. Addresses are secrets, and masked."""
        from alerts.models import Channel

        with plain_errors():
            rows = Channel.objects.select_related("user").order_by("user__username", "name")
            found = [
                {"id": c.pk, "user": c.user.get_username(), "name": c.name, "address": c.shown, "enabled": c.enabled}
                for c in (rows.filter(user__username=user) if user else rows)
            ]
        if as_json:
            return print_json({"channels": found})
        columns = ("id", "user", "name", "address", "enabled")
        return print_table("Channels", columns, ([row[name] for name in columns] for row in found), right=("id",))

    @command()
    def test(
        self,
        channel: Annotated[str, Argument(help="Its id or its name (see 'ginkgo alerts channels').")],
        user: Annotated[str | None, Option("--user", help="Whose, where several have a channel of this name.")] = None,
        as_json: Json = False,
    ) -> None:
        """Send a test message by one channel, now, and say what became of it. Exit code 1 if it was not sent."""
        from alerts.delivery import send_test

        with _plain_errors():
            found = showing.find_channel(channel, user)
            done = send_test(found)
        if as_json:
            print_json(
                {"channel": found.name, "address": found.shown, "sent": bool(done.sent_at), "reason": done.reason}
            )
        elif done.sent_at:
            showing.say(f"A test was sent by {found.name} ({found.shown}).")
        if not done.sent_at:
            if as_json:
                raise Exit(1)
            raise CommandError(f"the test by {found.name} ({found.shown}) was not sent: {done.reason}")

    @command()
    def status(self, as_json: Json = False) -> None:
        """How far the alerts are stored and told, and what became of the notifications of the last day."""
        from alerts.status import look

        with _plain_errors():
            document = look()
        if as_json:
            return print_json(document)
        return showing.print_status(document)


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        with plain_errors():
            yield
    except (AlertError, KafkaUnavailable) as error:
        raise CommandError(str(error)) from None


def _severity(given: str | None) -> str | None:
    if given is not None and given not in SEVERITIES:
        raise CommandError(f"--severity must be one of {', '.join(SEVERITIES)}, got {given!r}")
    return given


def _moment(option: str, given: str | None, now: datetime) -> datetime | None:
    if given is None:
        return None
    found: Any = showing.moment(given, now)
    if found is None:
        raise CommandError(f"{option} must be like 15m, 2h or 7d, or a moment like 2026-01-04T10:00:00Z, got {given!r}")
    moment: datetime = found
    return moment
