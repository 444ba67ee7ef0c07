"""What comes off the wire into the kernel."""

from __future__ import annotations

import msgspec
import pytest

from portfolios.kernel.events import PriceUpdate

decode = msgspec.json.Decoder(PriceUpdate).decode


def test_a_price_may_be_a_whole_number_and_have_fields_that_nobody_knows():
    text = (
        b'{"_v":2,"event_type":"price_update","code":"600519.SH","timestamp":"2024-01-02T07:00:00Z","price":10,"x":1}'
    )
    assert decode(text).price == 10.0


@pytest.mark.parametrize("stamp", ["2024-01-02T07:00:00", "yesterday", "2024-13-01T00:00:00Z"])
def test_a_time_without_a_zone_or_sense_is_refused(stamp):
    text = f'{{"event_type":"price_update","code":"600519.SH","timestamp":"{stamp}","price":10}}'
    with pytest.raises(msgspec.ValidationError):
        decode(text.encode())
