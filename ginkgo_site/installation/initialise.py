"""`ginkgo data init`: migrations, topics, the first administrator. May be run as often as one likes."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from ginkgo_site import groups
from market import switch, topic_admin
from portfolios.calendars import trading_days
from portfolios.errors import Conflict

ADMIN = "admin"
_PASSWORD_BYTES = 12


@dataclass(frozen=True)
class Admin:
    """`password`, if it was made here, is known only to the call that made it: it is stored nowhere in clear."""

    user: str
    created: bool
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Done:
    """What was done: `migrations` counts those applied now; `topics` says created, raised or exists for each."""

    migrations: int
    topics: dict[str, str]
    admin: Admin

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def initialise() -> Done:
    """All of it, in this order: the password, shown once, is made last, when nothing can fail any more.

    Two at once take turns. Raises market.bus.KafkaUnavailable, django.db.DatabaseError, portfolios.errors.Conflict,
    portfolios.calendars.CalendarError.
    """
    home = settings.GINKGO.home
    with _alone(home), ThreadPoolExecutor(1, "calendars") as beside:
        # A child process computes them for some seconds; without them here, the first portfolio would wait for that.
        calendar = beside.submit(trading_days, "cn", home)
        migrations, topics = migrate(), topic_admin.create_topics()
        switch.install()
        groups.ship()
        calendar.result()
        return Done(migrations, topics, first_admin())


def migrate() -> int:
    """Bring the tables up to date; how many migrations that took."""
    executor = MigrationExecutor(connection)
    pending = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    if pending:
        call_command("migrate", verbosity=0, interactive=False)
    return pending


def first_admin() -> Admin:
    """The first administrator, made if there is none, with `web.admin_password` or a generated one."""
    existing = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if existing is not None:
        return Admin(user=existing.get_username(), created=False)
    if User.objects.filter(username=ADMIN).exists():
        raise Conflict(f"user {ADMIN!r} is no administrator: make one with 'ginkgo createsuperuser'")
    given = settings.GINKGO.web.admin_password.get_secret_value()
    password = given or secrets.token_urlsafe(_PASSWORD_BYTES)
    User.objects.create_superuser(ADMIN, email=None, password=password)
    return Admin(user=ADMIN, created=True, password=None if given else password)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "init.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
