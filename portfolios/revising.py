"""A portfolio's configuration in its versions: the next one, an old one restored, who changed what (SPEC P2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from portfolios import configs, signals
from portfolios.errors import Conflict, NotFound
from portfolios.lookup import get, locked
from portfolios.models import Portfolio, Revision


def update_config(
    portfolio_id: str,
    config: Mapping[str, Any],
    author: User | None = None,
    expected_version: int | None = None,
    change: str = "",
) -> Portfolio:
    """Make `config` the next version; the same config again changes nothing.

    `expected_version`: the version that the author has seen; Conflict if it is no longer the newest. A running
    portfolio goes over to it by a graceful reload. Raises NotFound, InvalidConfig, Conflict.
    """
    checked = configs.validate(config, get(portfolio_id).market)
    with transaction.atomic():
        portfolio = locked(portfolio_id)
        if expected_version is not None and portfolio.version != expected_version:
            raise Conflict(
                f"portfolio {portfolio.name!r} is at version {portfolio.version}, not {expected_version}: "
                "look at the newest version first"
            )
        changes = configs.diff(portfolio.config, checked)
        if not changes:
            return portfolio
        portfolio.config = checked
        portfolio.version += 1
        portfolio.save(update_fields=["config", "version", "updated_at"])
        what = f"{change}: {configs.describe(changes)}" if change else configs.describe(changes)
        Revision.objects.create(
            portfolio=portfolio, version=portfolio.version, config=checked, author=author, change=what[:500]
        )
        asked_by = author.get_username() if author is not None else ""
        signals.tell(signals.config_changed, portfolio.id, version=portfolio.version, asked_by=asked_by)
    return portfolio


def rollback(portfolio_id: str, version: int, author: User | None = None) -> Portfolio:
    """Make the config of an old version the next one. Raises NotFound, and InvalidConfig if it no longer holds."""
    old = _revision(portfolio_id, version)
    return update_config(portfolio_id, old.config, author, change=f"restored version {version}")


def revisions(portfolio_id: str) -> list[Revision]:
    """All versions, newest first. Raises NotFound."""
    return list(get(portfolio_id).revisions.select_related("author").order_by("-version"))


def diff(portfolio_id: str, before: int, after: int) -> list[configs.Change]:
    """What differs between two versions. Raises NotFound."""
    return configs.diff(_revision(portfolio_id, before).config, _revision(portfolio_id, after).config)


def _revision(portfolio_id: str, version: int) -> Revision:
    try:
        return Revision.objects.get(portfolio=get(portfolio_id), version=version)
    except Revision.DoesNotExist:
        raise NotFound(f"portfolio {portfolio_id} has no version {version}: see 'ginkgo portfolio revisions'") from None
