from __future__ import annotations

import pytest

from market.messages import decode_command, decode_feedback, decode_order, decode_price, decode_schedule, decode_system
from market.poison import UNDECODABLE, PoisonCounter
from tests.market.test_alerting import Alerter, Kept

DECODERS = [decode_price, decode_feedback, decode_order, decode_command, decode_schedule, decode_system]
POISON = [
    b"", b"no json", b"\xff\xfe", b"null", b"[]", b"{}", b'{"event_type":"unheard_of"}', None,
    b'{"event_type":"price_update","code":"\xff"', b"[" * 100_000, b'{"x":' * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("poison", POISON, ids=range(len(POISON)))
def test_whatever_it_is_decoding_it_raises_nothing_else(decode: object, poison: bytes | None) -> None:
    with pytest.raises(UNDECODABLE):
        decode(poison)  # type: ignore[operator]


def test_each_is_counted_and_logged_and_one_a_minute_of_a_topic_is_alerted(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    counter = PoisonCounter(Alerter("feed", kept))  # type: ignore[arg-type]
    for offset in range(5):
        counter.skip("ticks", 3, offset, ValueError("no json"))
    counter.skip("orders", 0, 9, ValueError("no json"))
    assert counter.count == 6
    for place in ("ticks:3:0", "ticks:3:4", "orders:0:9"):
        assert f"cannot be decoded at {place}: no json" in caplog.text
    assert [alert.details["topic"] for _, _, alert in kept.messages] == ["ticks", "orders"]
    first = kept.messages[0][2]
    assert (first.alert_type, first.severity) == ("data_anomaly", "warning")
    assert (first.details["partition"], first.details["offset"], first.details["skipped"]) == (3, 0, 1)
