"""`ginkgo feed`: which feed its options mean, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from market.feeds.base import FeedError
from market.feeds.sample import CODES
from market.management.commands.feed import _feed
from portfolios import livestate
from portfolios.livestate import RedisUnavailable


def test_without_codes_it_is_the_samples_codes() -> None:
    for source in ("sample", "simulation"):
        feed = _feed(source, [], None, 7, 100.0, hurry=False)
        assert (feed.source, feed.codes) == (source, CODES)


@pytest.mark.parametrize(
    ("source", "file", "words"),
    [
        ("nope", None, "there is no source 'nope': use sample, simulation, replay or history"),
        ("replay", None, "give it with --file"),
        ("replay", Path("nothing.csv"), "nothing.csv: No such file"),
    ],
)
def test_a_feed_that_cannot_be_is_refused_in_one_line(source: str, file: Path | None, words: str) -> None:
    with pytest.raises(FeedError, match=words) as raised:
        _feed(source, [], file, 7, 100.0, hurry=False)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("options", [("--speed", "-1"), ("--source", "sample", "--speed", "0"), ("--rate", "0")])
def test_a_feed_that_would_stand_still_is_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="must be more than 0"):
        call_command("feed", "start", *options)


def test_status_without_redis_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise RedisUnavailable("no Redis is configured")

    monkeypatch.setattr(livestate, "client", away)
    with pytest.raises(CommandError, match="Redis does not answer: no Redis is configured"):
        call_command("feed", "status")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("start", "--portfolio", "p"), "give both"),
        (("record", "f.csv", "--market", "moon"), "there is no market 'moon'"),
        (("record", "f.csv", "--since", "yesterday"), "--since must be a moment"),
        (("record", "f.csv", "--since", "2026-11-21T09:30:00"), "needs a zone"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said) as raised:
        call_command("feed", *words)
    assert "\n" not in str(raised.value)
