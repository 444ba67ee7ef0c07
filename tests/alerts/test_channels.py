from __future__ import annotations

from typing import Any

import pytest

from alerts import channels
from alerts.errors import BadAddress, Unreadable
from alerts.models import Channel
from tests.alerts import making

SECRETS = ["mailtos://me:pass-word@example.com?to=ops@example.com", "jsons://hooks.example.com/token-of-the-hook"]


@pytest.mark.parametrize("url", SECRETS)
def test_an_address_is_sealed_opened_again_and_never_shown(url: str) -> None:
    secret, shown = channels.seal(f" {url} ")
    assert channels.reveal(Channel(name="hook", secret=secret)) == url
    for text in (secret, shown):
        assert "pass-word" not in text
        assert "token-of-the-hook" not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mailtos://me:pass-word@example.com", "mailtos://example.com/…"),
        ("json://user:pw@127.0.0.1:8080/token?x=y", "json://127.0.0.1/…"),
        ("slack://TokenA/TokenB/TokenC", "slack://…"),
        ("tgram://123456789:abcdefghijklmnop/12315544", "tgram://…"),
    ],
)
def test_only_what_is_no_secret_is_shown(url: str, shown: str) -> None:
    assert channels.masked(url) == shown


@pytest.mark.parametrize("url", ["", "nonsense", "://x", "nosuch://secret-word", "slack://secret-word", "json://"])
def test_an_address_that_cannot_be_sent_to_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(BadAddress) as refusal:
        channels.seal(url)
    assert "secret-word" not in str(refusal.value)


def test_a_new_secret_key_still_opens_with_the_old_one_beside_it(settings: Any) -> None:
    secret, _ = channels.seal(SECRETS[1])
    channel = Channel(name="hook", secret=secret)
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another"
    with pytest.raises(Unreadable, match=r"hook cannot be read .* give it again"):
        channels.reveal(channel)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert channels.reveal(channel) == SECRETS[1]


def test_a_reason_is_freed_of_every_piece_of_the_address() -> None:
    url = "json://user:pass%20word@example.com:8080/path-token?key=value-token"
    text = f"{url} failed: pass word, pass%20word, path-token, value-token at example.com"
    told = channels.scrubbed(text, url)
    for piece in ("pass word", "pass%20word", "path-token", "value-token"):
        assert piece not in told
    assert "example.com" in told


@pytest.mark.django_db
def test_a_channel_prints_without_its_secret() -> None:
    made = making.channel(making.user(), SECRETS[1])
    assert "token-of-the-hook" not in f"{made} {made!r} {vars(made)}"
