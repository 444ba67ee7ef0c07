from __future__ import annotations

from nodes.joiner import plan
from nodes.subscription import Gap

P, Q = ("t", 0), ("t", 1)


def test_a_partition_is_read_from_the_checkpoint_to_the_join_point() -> None:
    assert plan({P: 5, Q: 7}, {P: 9, Q: 8}, {P: (0, 9), Q: (0, 8)}).gaps == {P: Gap(5, 9), Q: Gap(7, 8)}


def test_one_that_is_up_to_date_has_no_gap() -> None:
    joined = plan({P: 9}, {P: 9}, {P: (0, 9)})
    assert (joined.gaps, joined.losses) == ({}, {})


def test_one_that_was_never_read_begins_at_the_live_end() -> None:
    joined = plan({P: None}, {P: 9}, {P: (0, 9)})
    assert (joined.gaps, joined.losses) == ({}, {})


def test_what_retention_took_is_a_loss_and_the_rest_is_read() -> None:
    joined = plan({P: 5}, {P: 20}, {P: (10, 20)})
    assert joined.gaps == {P: Gap(10, 20)}
    assert joined.losses == {P: "offsets 5 to 9 are past retention"}


def test_a_log_that_ends_below_the_offset_is_a_loss() -> None:
    joined = plan({P: 50}, {P: 20}, {P: (0, 20)})
    assert joined.gaps == {P: Gap(0, 20)}
    assert "ends at 20, below offset 50" in joined.losses[P]


def test_a_join_point_beyond_the_watermark_is_no_loss() -> None:
    """The live consumer has read on since the watermark was asked for."""
    assert plan({P: 22}, {P: 22}, {P: (0, 20)}).losses == {}


def test_a_topic_made_anew_is_a_loss_even_where_the_offsets_would_fit() -> None:
    joined = plan({P: 5}, {P: 20}, {P: (0, 20)}, frozenset({"t"}))
    assert joined.gaps == {P: Gap(0, 20)}
    assert joined.losses == {P: "the topic was created anew"}


def test_a_topic_made_anew_and_still_empty_is_a_loss_with_nothing_to_read() -> None:
    joined = plan({P: 5}, {P: 0}, {P: (0, 0)}, frozenset({"t"}))
    assert joined.gaps == {}
    assert P in joined.losses
