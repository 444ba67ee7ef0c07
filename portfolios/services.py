"""The Python interface to portfolios: what the API, the admin, the commands and a notebook call.

Every function takes a portfolio's id, acts in one transaction and returns at once: a node makes true what it wrote.
Money is Decimal in the portfolio's currency. Errors are those of `portfolios.errors`; after one nothing has changed.
"""

from __future__ import annotations

from portfolios.adjustments import (
    correct_cash,
    correct_position,
    deposit,
    list_adjustments,
    settle,
    wait_for,
    withdraw,
)
from portfolios.creation import create
from portfolios.decisions import get_decisions
from portfolios.lookup import find, get
from portfolios.reading import get_positions, get_status, list_portfolios
from portfolios.revising import diff, revisions, rollback, update_config
from portfolios.transfer import export_portfolio, import_portfolio
from portfolios.wishes import reload, start, stop

__all__ = [
    "correct_cash",
    "correct_position",
    "create",
    "deposit",
    "diff",
    "export_portfolio",
    "find",
    "get",
    "get_decisions",
    "get_positions",
    "get_status",
    "import_portfolio",
    "list_adjustments",
    "list_portfolios",
    "reload",
    "revisions",
    "rollback",
    "settle",
    "start",
    "stop",
    "update_config",
    "wait_for",
    "withdraw",
]
