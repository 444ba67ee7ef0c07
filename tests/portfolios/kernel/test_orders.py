"""The names of orders and fills."""

from __future__ import annotations

from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from portfolios.kernel.orders import name_of, order_id


@given(st.uuids(), st.text(max_size=60))
def test_a_name_is_the_uuid_of_its_cause(namespace: UUID, name: str) -> None:
    assert name_of(namespace, name) == str(uuid5(namespace, name))


def test_another_life_of_the_log_gives_other_ids() -> None:
    portfolio = "0b7d0a52-6d43-4c83-9d7a-1f5c9a6f1e11"
    assert order_id(portfolio, "t:1:2:0", 0) == str(uuid5(UUID(portfolio), "t:1:2:0:0"))
    assert order_id(portfolio, "t:1:2:0", 0) != order_id(portfolio, "t:1:2:0", 1)
