"""Instrument codes: which market a code belongs to and whether it is well formed."""

from __future__ import annotations

import re

MARKETS = ("cn", "hk", "us", "futures")

_MARKET_BY_SUFFIX = {"SH": "cn", "SZ": "cn", "BJ": "cn", "HK": "hk", "US": "us"}
_FORMS = {
    "cn": (re.compile(r"[0-9]{6}\.(SH|SZ|BJ)"), "600519.SH"),
    "hk": (re.compile(r"[0-9]{5}\.HK"), "00700.HK"),
    "us": (re.compile(r"[A-Z][A-Z0-9.\-]{0,9}\.US"), "AAPL.US"),
    "futures": (re.compile(r"[A-Z]{1,2}[0-9]{3,4}\.[A-Z]{2,4}"), "IF2612.CFX"),
}


def market_of(code: str) -> str:
    """`600519.SH` → cn, `00700.HK` → hk, `AAPL.US` → us, any other suffix → futures."""
    return _MARKET_BY_SUFFIX.get(code.rpartition(".")[2], "futures")


def fault_of(code: object, market: str | None = None) -> str | None:
    """What is wrong with `code` as a code of `market` (None: of its own), or None."""
    if not isinstance(code, str):
        return f"must be a string such as {_FORMS[market or 'cn'][1]}, got {code!r}"
    own = market_of(code)
    if not _FORMS[own][0].fullmatch(code):
        return f"{code!r} is not a well-formed code (such as {_FORMS[market or own][1]})"
    if market is not None and own != market:
        return f"{code!r} is a code of market {own}, the portfolio trades {market} (such as {_FORMS[market][1]})"
    return None
