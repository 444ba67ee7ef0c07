"""The Python interface to portfolios: what the API, the admin, the commands and a notebook call.

Every function takes a portfolio's id, acts in one transaction and returns at once: a node makes true what it wrote.
Money is Decimal in the portfolio's currency. Errors are those of `portfolios.errors`; after one nothing has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.dispatch import Signal

from portfolios import configs, signals
from portfolios.errors import Conflict, InvalidConfig, NotFound
from portfolios.kernel.config import Fault
from portfolios.models import Assignment, Checkpoint, Portfolio, Revision
from portfolios.models.portfolio import DesiredState
from portfolios.reading import get_positions, get_status, list_portfolios

__all__ = [
    "create",
    "diff",
    "export_portfolio",
    "find",
    "get",
    "get_positions",
    "get_status",
    "import_portfolio",
    "list_portfolios",
    "reload",
    "revisions",
    "rollback",
    "start",
    "stop",
    "update_config",
]

EXPORT_FORMAT = 1


def create(
    name: str,
    owner: User | str | None,
    market: str,
    initial_cash: Decimal | int | str,
    config: Mapping[str, Any],
    *,
    running: bool = False,
    author: User | None = None,
) -> Portfolio:
    """A new portfolio with its first revision, nobody's yet and without state.

    `owner`: a user, a user's name, or None for the first administrator. `running`: wanted running at once. Raises
    InvalidConfig with all faults of name, market, cash and config together.
    """
    cash, faults = configs.cash_of(initial_cash)
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 200:
        faults.insert(0, Fault("name", "must have 1 to 200 characters"))
    faults += configs.faults_of(config, market)
    if faults or cash is None:
        raise InvalidConfig(faults)
    user = _user(owner)
    with transaction.atomic():
        portfolio = Portfolio.objects.create(
            name=name.strip(),
            owner=user,
            market=market,
            initial_cash=cash,
            config=configs.validate(config, market),
            desired_state=DesiredState.RUNNING if running else DesiredState.STOPPED,
        )
        Revision.objects.create(
            portfolio=portfolio, version=1, config=portfolio.config, author=author or user, change="created"
        )
        Assignment.objects.create(portfolio=portfolio)
        Checkpoint.objects.create(portfolio=portfolio)
        if running:
            _tell(signals.desired_state_changed, portfolio.id, desired_state=portfolio.desired_state)
    return portfolio


def get(portfolio_id: str) -> Portfolio:
    """Raises NotFound."""
    try:
        return Portfolio.objects.get(id=portfolio_id)
    except Portfolio.DoesNotExist:
        raise NotFound(f"there is no portfolio {portfolio_id!r}: see 'ginkgo portfolio list'") from None


def find(text: str) -> Portfolio:
    """By id, by the beginning of an id, or by name, where that is unambiguous. Raises NotFound or Conflict."""
    exact = Portfolio.objects.filter(id=text).first()
    if exact is not None:
        return exact
    fits = list(Portfolio.objects.filter(name=text)[:2])
    if not fits and len(text) >= 4:
        fits = list(Portfolio.objects.filter(id__startswith=text.lower())[:2])
    if not fits:
        raise NotFound(f"there is no portfolio {text!r}: see 'ginkgo portfolio list'")
    if len(fits) > 1:
        raise Conflict(f"several portfolios answer to {text!r}: give the whole id")
    return fits[0]


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
        portfolio = _locked(portfolio_id)
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
        _tell(signals.config_changed, portfolio.id, version=portfolio.version)
    return portfolio


def rollback(portfolio_id: str, version: int, author: User | None = None) -> Portfolio:
    """Make the config of an old version the next one. Raises NotFound, and InvalidConfig if it no longer holds."""
    old = _revision(portfolio_id, version)
    return update_config(portfolio_id, old.config, author, change=f"restored version {version}")


def reload(portfolio_id: str) -> Portfolio:
    """Ask whoever runs it to load the newest version again."""
    portfolio = get(portfolio_id)
    _tell(signals.config_changed, portfolio.id, version=portfolio.version)
    return portfolio


def revisions(portfolio_id: str) -> list[Revision]:
    """All versions, newest first. Raises NotFound."""
    return list(get(portfolio_id).revisions.select_related("author").order_by("-version"))


def diff(portfolio_id: str, before: int, after: int) -> list[configs.Change]:
    """What differs between two versions. Raises NotFound."""
    return configs.diff(_revision(portfolio_id, before).config, _revision(portfolio_id, after).config)


def start(portfolio_id: str) -> Portfolio:
    """Want it running; the scheduler finds it a node. Also the way out of `error`. Raises NotFound."""
    return _desire(portfolio_id, DesiredState.RUNNING)


def stop(portfolio_id: str) -> Portfolio:
    """Want it stopped. Raises NotFound."""
    return _desire(portfolio_id, DesiredState.STOPPED)


def export_portfolio(portfolio_id: str, with_state: bool = False) -> dict[str, Any]:
    """One JSON document, as `import_portfolio` takes it. `with_state` adds the last checkpoint's snapshot."""
    portfolio = get(portfolio_id)
    document: dict[str, Any] = {
        "ginkgo_export": EXPORT_FORMAT,
        "portfolio": {
            "id": portfolio.id,
            "name": portfolio.name,
            "market": portfolio.market,
            "initial_cash": str(portfolio.initial_cash),
            "version": portfolio.version,
            "config": portfolio.config,
        },
    }
    if with_state:
        state = bytes(Checkpoint.objects.get(portfolio_id=portfolio.id).state)
        document["state"] = json.loads(state) if state else None
    return document


def import_portfolio(
    document: Any,
    owner: User | str | None = None,
    portfolio_id: str | None = None,
    author: User | None = None,
) -> Portfolio:
    """A new portfolio from an export, or with `portfolio_id` the next version of that one's config.

    A state in the document is not taken over: a new portfolio starts with its initial cash. Raises InvalidConfig.
    """
    inner = document.get("portfolio") if isinstance(document, Mapping) else None
    if not isinstance(inner, Mapping) or document.get("ginkgo_export") != EXPORT_FORMAT:
        raise InvalidConfig([Fault("ginkgo_export", f"must be {EXPORT_FORMAT}: this is no exported portfolio")])
    missing = [Fault(f"portfolio.{key}", "is missing") for key in _EXPORTED if key not in inner]
    if missing:
        raise InvalidConfig(missing)
    if portfolio_id is None:
        return create(inner["name"], owner, inner["market"], inner["initial_cash"], inner["config"], author=author)
    if get(portfolio_id).market != inner["market"]:
        raise Conflict(f"the export is of market {inner['market']}, the portfolio trades {get(portfolio_id).market}")
    return update_config(portfolio_id, inner["config"], author, change="imported")


_EXPORTED = ("name", "market", "initial_cash", "config")


def _desire(portfolio_id: str, state: DesiredState) -> Portfolio:
    with transaction.atomic():
        portfolio = _locked(portfolio_id)
        if portfolio.desired_state != state:
            portfolio.desired_state = state
            portfolio.save(update_fields=["desired_state", "updated_at"])
        # Told even if it was wanted before: whoever asks again has a reason to.
        _tell(signals.desired_state_changed, portfolio.id, desired_state=str(state))
    return portfolio


def _locked(portfolio_id: str) -> Portfolio:
    try:
        return Portfolio.objects.select_for_update().get(id=portfolio_id)
    except Portfolio.DoesNotExist:
        raise NotFound(f"there is no portfolio {portfolio_id!r}: see 'ginkgo portfolio list'") from None


def _revision(portfolio_id: str, version: int) -> Revision:
    try:
        return Revision.objects.get(portfolio=get(portfolio_id), version=version)
    except Revision.DoesNotExist:
        raise NotFound(f"portfolio {portfolio_id} has no version {version}") from None


def _user(owner: User | str | None) -> User:
    if owner is None:
        user = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if user is None:
            raise NotFound("there is no administrator yet: run 'ginkgo data init'")
        return user
    if isinstance(owner, str):
        user = User.objects.filter(username=owner).first()
        if user is None:
            raise NotFound(f"there is no user {owner!r}")
        return user
    return owner


def _tell(signal: Signal, portfolio_id: str, **facts: Any) -> None:
    """After the commit, and whatever a receiver does: its failure is logged and must not undo what was written."""
    transaction.on_commit(partial(signal.send_robust, sender=Portfolio, portfolio_id=portfolio_id, **facts))
