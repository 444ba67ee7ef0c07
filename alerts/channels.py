"""Channels' addresses: Apprise URLs, which hold passwords and tokens. Encrypted where stored, masked where shown.

The key is derived from Django's SECRET_KEY (older ones in SECRET_KEY_FALLBACKS still open what they have closed), so a
copy of the database alone reveals no address.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings

from alerts.errors import BadAddress, Unreadable
from alerts.models import Channel

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_PURPOSE = b"ginkgo.alerts.channel"
# Where the host is a host and no token.
_WITH_HOST = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"})
_HIDDEN = "…"
_SHORTEST = 4
"""Shorter pieces of an address are ports and names like `to`; hiding them would hide the sense of a message."""


def seal(url: str) -> tuple[str, str]:
    """(what to store, what to show) of a valid address. Raises BadAddress."""
    url = url.strip()
    check(url)
    return _boxes()[0].encrypt(url.encode()).decode(), masked(url)


def reveal(channel: Channel) -> str:
    """The address itself, for sending only. Raises Unreadable."""
    from cryptography.fernet import InvalidToken

    for box in _boxes():
        try:
            return box.decrypt(channel.secret.encode()).decode()
        except InvalidToken:
            continue
    raise Unreadable(f"the address of channel {channel.name} cannot be read (another secret key): give it again")


def check(url: str) -> None:
    """Raises BadAddress unless Apprise can send to it. Says nothing of the address but its scheme."""
    scheme = url.partition("://")[0]
    if "://" not in url or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        raise BadAddress("an address is a URL like mailtos://user:password@example.com or jsons://host/path")
    from apprise import Apprise

    if Apprise.instantiate(url, suppress_exceptions=True) is None:
        raise BadAddress(f"Apprise cannot send to this {scheme.lower()}:// address: see its page on {scheme.lower()}")


def masked(url: str) -> str:
    """Its scheme, and its host where that is not a secret: `jsons://hooks.example.com/…`, `slack://…`."""
    parts = urlsplit(url)
    if parts.scheme in _WITH_HOST and parts.hostname:
        return f"{parts.scheme}://{parts.hostname}/{_HIDDEN}"[:200]
    return f"{parts.scheme}://{_HIDDEN}"


def scrubbed(text: str, url: str) -> str:
    """`text` without any piece of the address that could be a secret."""
    parts = urlsplit(url)
    raw = [parts.netloc.rpartition("@")[0], *re.split(r"[:@/]", parts.netloc.rpartition("@")[0])]
    if parts.scheme not in _WITH_HOST:
        raw.append(parts.netloc.rpartition("@")[2])
    raw += [part for part in parts.path.split("/") if part] + [value for _, value in parse_qsl(parts.query)]
    pieces = {url, *raw, *map(unquote, raw)}
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) >= _SHORTEST:
            text = text.replace(piece, _HIDDEN)
    return text


@lru_cache(maxsize=4)
def _made(keys: tuple[str, ...]) -> tuple[Fernet, ...]:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    def box(key: str) -> Fernet:
        derived = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(key.encode())
        return Fernet(base64.urlsafe_b64encode(derived))

    return tuple(map(box, keys))


def _boxes() -> tuple[Fernet, ...]:
    return _made((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))
