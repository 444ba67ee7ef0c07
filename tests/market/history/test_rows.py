from __future__ import annotations

import pytest

from market.history.rows import feedback_rows, micros, order_row, tick_row
from market.history.schema import FILLS, ORDERS, TICKS
from market.messages import Feedback, OrderSubmission
from tests.market.history.samples import CODE, at, price, stand

ORDER = OrderSubmission(
    timestamp=at(0), order_id="o1", portfolio_id="p1", epoch=3, code=CODE, direction=1, order_type="limit", volume=200,
    price=10.1, cause="t:0:5:0",
)  # fmt: skip


def answer(**fields: object) -> Feedback:
    facts = {"event_type": "order_ack", "seq": 1, "pseq": 7, "status": "accepted", **fields}
    return Feedback(timestamp=at(1), order_id="o1", portfolio_id="p1", **facts)  # type: ignore[arg-type]


def named(table: object, row: tuple[object, ...]) -> dict[str, object]:
    return dict(zip(table.columns.keys(), row, strict=True))  # type: ignore[attr-defined]


def test_a_row_has_a_value_for_each_column_of_its_table() -> None:
    tick = named(TICKS, tick_row(price(0, 10.5, volume=3), stand(4, partition=2)))
    assert (tick["code"], tick["timestamp"], tick["price"], tick["volume"]) == (CODE, micros(at(0)), 10.5, 3)
    assert (tick["log_id"], tick["log_partition"], tick["log_offset"]) == ("log", 2, 4)
    order = named(ORDERS, order_row(ORDER, stand(0)))
    assert (order["event_id"], order["event"], order["volume"], order["price"]) == ("o1", "order_submission", 200, 10.1)


def test_an_order_that_is_sent_again_with_another_epoch_has_the_same_key() -> None:
    import msgspec

    again = msgspec.structs.replace(ORDER, epoch=4)
    keys = [column.name for column in ORDERS.primary_key.columns]
    first, second = named(ORDERS, order_row(ORDER, stand(0))), named(ORDERS, order_row(again, stand(9)))
    assert [first[key] for key in keys] == [second[key] for key in keys]


def test_an_answer_is_an_event_of_the_order_and_a_fill_is_a_row_of_its_own_too() -> None:
    (event,) = feedback_rows(answer(), stand(0))["orders"]
    assert (named(ORDERS, event)["event_id"], named(ORDERS, event)["code"]) == ("7", None)
    rows = feedback_rows(
        answer(
            event_type="order_filled", status="filled", fill_id="f1", code=CODE, direction=1, filled_volume=200,
            remaining_volume=0, filled_price=10.0, filled_amount=2000.0, commission=5.0, tax=0.02,
        ),
        stand(0),
    )  # fmt: skip
    (fill,) = rows["fills"]
    found = named(FILLS, fill)
    assert (found["fill_id"], found["volume"], found["amount"], found["tax"]) == ("f1", 200, 2000.0, 0.02)
    assert len(rows["orders"]) == 1


def test_a_number_beyond_what_a_database_holds_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="beyond 64 bits"):
        tick_row(price(0, volume=2**63), stand(0))
