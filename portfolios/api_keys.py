"""API keys: made, listed, revoked, recognised. The key is a random text that is shown once; only its digest is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import Q

from portfolios.errors import Conflict, InvalidConfig, NotFound
from portfolios.kernel.config import Fault
from portfolios.models import ApiKey

READ, TRADE, OPERATE = "read", "trade", "operate"
SCOPES = (READ, TRADE, OPERATE)

MARK = "gk_"
"""How every key begins, so that a key is told from a token, and found by those who search for leaked ones."""
_LONGEST_LIFE = timedelta(days=3660)


def create(
    name: str, owner: User, scopes: Sequence[str], now: datetime, lifetime: timedelta | None = None
) -> tuple[ApiKey, str]:
    """The key's row, and the key itself: `gk_PREFIX_SECRET`. `lifetime` None: until it is revoked.

    Raises InvalidConfig with every fault of name, scopes and lifetime.
    """
    faults = []
    if not 0 < len(name.strip()) <= 100:
        faults.append(Fault("name", "must have 1 to 100 characters"))
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        faults.append(Fault("scopes", f"must be one or more of {', '.join(SCOPES)}, got {', '.join(scopes) or 'none'}"))
    if lifetime is not None and not timedelta() < lifetime <= _LONGEST_LIFE:
        faults.append(Fault("lifetime", f"must be more than nothing and at most {_LONGEST_LIFE.days} days"))
    if faults:
        raise InvalidConfig(faults)
    prefix = secrets.token_hex(4)
    key = f"{MARK}{prefix}_{secrets.token_urlsafe(32)}"
    row = ApiKey.objects.create(
        prefix=prefix,
        digest=_digest(key),
        name=name.strip(),
        owner=owner,
        # Whoever may trade or operate may look.
        scopes=[scope for scope in SCOPES if scope in {READ, *scopes}],
        expires_at=None if lifetime is None else now + lifetime,
    )
    return row, key


def listing(owner: User | None = None) -> list[ApiKey]:
    """All of them (of `owner`), newest first, revoked and expired ones too."""
    chosen = ApiKey.objects.select_related("owner")
    return list(chosen if owner is None else chosen.filter(owner=owner))


def revoke(text: str, now: datetime) -> ApiKey:
    """By its prefix, or by its name where that is unambiguous. A revoked one stays as it was. Raises NotFound,
    Conflict."""
    text = text.removeprefix(MARK).partition("_")[0] if text.startswith(MARK) else text
    fits = list(ApiKey.objects.filter(Q(prefix=text) | Q(name=text, revoked_at=None))[:2])
    if not fits:
        raise NotFound(f"there is no API key {text!r}: see 'ginkgo apikey list'")
    if len(fits) > 1:
        raise Conflict(f"several API keys are called {text!r}: give its prefix")
    (key,) = fits
    if key.revoked_at is None:
        key.revoked_at = now
        key.save(update_fields=["revoked_at"])
    return key


def recognise(key: str) -> ApiKey | None:
    """Whose key it is, whatever its state (one query, its owner with it); None if it is nobody's."""
    prefix = key.removeprefix(MARK).partition("_")[0]
    row = ApiKey.objects.select_related("owner").filter(prefix=prefix).first()
    if row is None or not hmac.compare_digest(row.digest, _digest(key)):
        return None
    return row


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
