"""The shapes of what the portfolio routes take and answer."""

from __future__ import annotations

from portfolios.api.components import CONFIG, CONFIG_PARTS, STORED_CONFIG
from portfolios.api.kit.paging import page_query
from portfolios.api.kit.shapes import (
    BOOLEAN,
    COUNT,
    INTEGER,
    LARGEST,
    MOMENT,
    NUMBER,
    Shape,
    answer,
    body,
    choices,
    described,
    many,
    maybe,
    named,
    text,
)
from portfolios.models.account import Kind
from portfolios.models.adjustment import AdjustmentKind, AdjustmentState
from portfolios.models.portfolio import DesiredState, Market, Status

STATUS = choices("PortfolioStatus", Status.values)
DESIRED = choices("DesiredState", DesiredState.values)
MARKET = choices("Market", Market.values)
ACCOUNT_KIND = choices("AccountKind", Kind.values, "Live: real money.")
MONEY = described(NUMBER, "In the portfolio's currency, to 0.0001.")
_DECIMAL = r"(0\.[0-9]{0,3}[1-9]|[1-9][0-9]{0,13}(\.[0-9]{1,4})?)"


def _money_in(name: str, wish: str, description: str, numbers: list[Shape], form: str) -> Shape:
    """How fine a number is, the services look at: as a binary fraction hardly any is a multiple of 0.0001."""
    written: Shape = {"type": "string", "pattern": form}
    common = {"x-wish": wish, "description": description}
    told = [{**number, "multipleOf": 0.0001} for number in numbers]
    return named(name, {**common, "anyOf": [*told, written]}, {**common, "anyOf": [*numbers, written]})


_MORE = {"type": "number", "minimum": 0.0001, "maximum": 999999999999}
MONEY_IN = _money_in(
    "MoneyIn",
    "must be an amount of more than 0 with at most 4 decimal places",
    "In the portfolio's currency, as a number or as a text.",
    [_MORE],
    f"^{_DECIMAL}$",
)
SIGNED_MONEY_IN = _money_in(
    "SignedMoneyIn",
    "must be an amount other than 0 with at most 4 decimal places",
    "In the portfolio's currency, as a number or as a text; negative: less.",
    [_MORE, {"type": "number", "minimum": -999999999999, "maximum": -0.0001}],
    f"^-?{_DECIMAL}$",
)
VERSION = {"type": "integer", "minimum": 1, "maximum": LARGEST}
ID = text("A portfolio's id.")
CONFIRM = described(BOOLEAN, "That real money is meant; a live account's portfolio asks for it.")

_state = {
    "id": ID,
    "name": text(),
    "status": STATUS,
    "status_reason": text("Why it is in this status, where that needs a reason."),
    "desired_state": DESIRED,
    "market": MARKET,
    "account": text("The name of the account it trades in."),
    "account_kind": ACCOUNT_KIND,
    "broker": text(),
    "currency": text(),
    "node_id": text("The node that owns it; empty: none."),
    "epoch": COUNT,
    "version": VERSION,
    "cash": MONEY,
    "total_value": MONEY,
    "position_count": COUNT,
    "running_version": maybe(INTEGER),
}
PORTFOLIO_STATUS = named("PortfolioState", answer(**_state, updated_at=maybe(MOMENT)))
_row = {
    **_state,
    "owner": text("The owner's user name."),
    "initial_cash": MONEY,
    "figures_at": described(maybe(MOMENT), "As of when cash, value and positions are; null: it never ran."),
    "created_at": MOMENT,
    "updated_at": described(MOMENT, "When its owner last changed it."),
}
PORTFOLIO_ROW = named("PortfolioRow", answer(**_row))
PORTFOLIO = named("Portfolio", answer(**_row, config=STORED_CONFIG))
PORTFOLIOS = page_query(
    ["name", "created_at", "updated_at", "status", "market"],
    status=STATUS,
    desired_state=DESIRED,
    market=MARKET,
    node_id=text("Owned by this node.", maxLength=100),
    owner=text("Of this user; for staff.", maxLength=150),
    name=text("Part of its name, in capitals or not.", maxLength=200),
)
NEW = named(
    "NewPortfolio",
    body(
        ["name", "initial_cash", "config"],
        name=text(minLength=1, maxLength=200, pattern=r"\S"),
        market={**MARKET, "default": "cn"},
        initial_cash=MONEY_IN,
        config=CONFIG,
        running=described({**BOOLEAN, "default": False}, "Wanted running at once."),
        account=text(
            "The name or id of one of the owner's accounts; none: the paper account.", minLength=1, maxLength=100
        ),
        owner=text("Whose it shall be; for staff.", minLength=1, maxLength=150),
        confirm=CONFIRM,
    ),
)
REPLACEMENT = named("PortfolioReplacement", body(["config"], config=CONFIG_PARTS, version=VERSION))
CHANGE = named(
    "PortfolioChange",
    {
        **body(
            name=text(minLength=1, maxLength=200, pattern=r"\S"),
            config=named("PortfolioConfigPatch", {"type": "object", "additionalProperties": True}),
            version=VERSION,
        ),
        "minProperties": 1,
    },
)
CHANGED = named(
    "PortfolioChanged",
    answer(
        success={"type": "boolean", "const": True},
        portfolio_id=ID,
        status=choices("UpdateStatus", ["reloading", *Status.values]),
        version=VERSION,
        updated_at=MOMENT,
        message=text(),
    ),
)
WISH = named("Wish", body(version=VERSION))
START = named("StartWish", body(version=VERSION, confirm=CONFIRM))
WISHED = named(
    "WishAccepted",
    answer(
        success={"type": "boolean", "const": True},
        portfolio_id=ID,
        status=STATUS,
        desired_state=DESIRED,
        version=VERSION,
        message=text(),
    ),
)
ROLLBACK = named("Rollback", body(["to_version"], to_version=VERSION, version=VERSION))
POSITION = named(
    "Position",
    answer(
        code=text(),
        volume=INTEGER,
        available=described(INTEGER, "What can be sold now."),
        cost_price=described(NUMBER, "Fees included."),
        last_price=NUMBER,
        profit=described(NUMBER, "Unrealised."),
    ),
)
POSITIONS = named("Positions", answer(portfolio_id=ID, positions=many(POSITION)))
REVISION = named(
    "Revision",
    answer(
        version=VERSION,
        author=maybe(text("Who; null: the user is no longer there.")),
        created_at=MOMENT,
        change=text("What changed, in a line."),
        config=STORED_CONFIG,
    ),
)
WHY = text("Why: it is kept in the books.", minLength=1, maxLength=300, pattern=r"\S")
CASH_MOVED = named("CashMoved", body(["amount", "reason"], amount=MONEY_IN, reason=WHY))
CORRECTION = named(
    "Correction",
    body(
        ["reason"],
        cash=SIGNED_MONEY_IN,
        code=text("Whose position was wrong.", minLength=1, maxLength=20),
        volume={
            "type": "integer", "minimum": -(10**12), "maximum": 10**12,
            "description": "So much more of it, or, negative, less; not 0.",
        },
        price=described(MONEY_IN, "Its cost a share; none: what is taken away leaves at the average cost."),
        reason=WHY,
    ),
)  # fmt: skip
ADJUSTMENT_KIND = choices("AdjustmentKind", AdjustmentKind.values)
ADJUSTMENT_STATE = choices("AdjustmentState", AdjustmentState.values, "Pending: its node has still to book it.")
ADJUSTMENT = named(
    "Adjustment",
    answer(
        id=text("Of the request."),
        kind=ADJUSTMENT_KIND,
        state=ADJUSTMENT_STATE,
        amount=described(NUMBER, "More cash, or, negative, less; 0 where it is about a code."),
        code=text("Empty: it is about cash."),
        volume=INTEGER,
        price=maybe(NUMBER),
        held_since=maybe(text("A date: since when an opening position is held.")),
        reason=text(),
        author=text("Who asked for it."),
        requested_at=MOMENT,
        settled_at=maybe(MOMENT),
        outcome=text("Why it was refused, where it was."),
    ),
)
EXPORT = named(
    "PortfolioExport",
    {
        "type": "object",
        "properties": {
            "ginkgo_export": {"type": "integer"},
            "portfolio": {
                "type": "object",
                "properties": {"name": text(), "market": MARKET, "initial_cash": MONEY_IN, "config": STORED_CONFIG},
                "required": ["name", "market", "initial_cash", "config"],
                "additionalProperties": True,
            },
            "state": {"description": "Of its last checkpoint, where it was asked for."},
        },
        "required": ["ginkgo_export", "portfolio"],
        "additionalProperties": True,
    },
)
IMPORT = named(
    "PortfolioImport",
    {
        **body(
            ["ginkgo_export", "portfolio"],
            ginkgo_export={"type": "integer", "const": 1},
            portfolio={
                "type": "object",
                "properties": {
                    "id": text("Of the one that was exported."),
                    "name": text(minLength=1, maxLength=200, pattern=r"\S"),
                    "market": MARKET,
                    "initial_cash": MONEY_IN,
                    "account": {"description": "Where it traded; not taken over."},
                    "version": {"description": "Not taken over."},
                    "exported_at": {"description": "Not taken over."},
                    "config": CONFIG,
                },
                "required": ["name", "market", "initial_cash", "config"],
                "additionalProperties": False,
            },
            state={"type": ["object", "null"], "additionalProperties": True, "description": "As it was exported."},
        )
    },
)
