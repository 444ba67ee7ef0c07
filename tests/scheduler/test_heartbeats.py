"""The judgement on heartbeats: who is new, back, restarted or lost, and when a loss is not yet to be believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from scheduler.heartbeats import Known, Pulse, RedisNow, Timing, Verdict, Watch, judge

NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
TTL = timedelta(seconds=30)
TIMING = Timing(ttl=TTL, together=timedelta(seconds=10))
REDIS = RedisNow("run-1", timedelta(hours=3))
CALM = Watch(run_id="run-1")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def online(*ids: str, missing_since: datetime | None = None) -> list[Known]:
    return [Known(i, True, f"{i}-first", missing_since) for i in ids]


def beating(*ids: str, state: str = "running") -> dict[str, Pulse]:
    return {i: Pulse(i, instance=f"{i}-first", state=state) for i in ids}


def judged(
    known: list[Known], pulses: dict[str, Pulse], watch: Watch = CALM, redis: RedisNow = REDIS, now: datetime = NOW
) -> Verdict:
    return judge(known, pulses, watch, redis, now, TIMING)


def test_a_heartbeat_never_seen_is_a_new_node() -> None:
    assert judged([], beating("a")).new == ("a",)


def test_an_offline_node_that_beats_is_back() -> None:
    assert judged([Known("a", False)], beating("a")).back == ("a",)


def test_another_instance_under_the_same_id_is_a_restart_and_no_loss() -> None:
    verdict = judged(online("a"), {"a": Pulse("a", instance="a-second")})
    assert verdict.restarted == ("a",)
    assert verdict.lost == ()


def test_a_single_heartbeat_that_is_gone_is_believed_at_once() -> None:
    verdict = judged(online("a", "b"), beating("b"))
    assert verdict.lost == ("a",)
    assert verdict.changed


def test_the_only_node_of_a_cluster_is_believed_too() -> None:
    assert judged(online("a"), {}).lost == ("a",)


def test_most_heartbeats_vanishing_together_are_not_believed_for_one_ttl() -> None:
    verdict = judged(online("a", "b", "c"), beating("c"))
    assert verdict.lost == ()
    assert verdict.waiting == ("a", "b")
    assert verdict.watch.believe_after == NOW + TTL
    assert "2 of 3 nodes vanished together" in verdict.doubt


def test_after_one_ttl_those_still_missing_are_lost() -> None:
    watch = Watch("run-1", believe_after=NOW)
    verdict = judged(online("a", "b", missing_since=after(-30)) + online("c"), beating("c"), watch)
    assert verdict.lost == ("a", "b")
    assert verdict.watch.believe_after is None


def test_a_doubt_that_lasts_is_said_once() -> None:
    watch = Watch("run-1", believe_after=after(25))
    verdict = judged(online("a", "b", missing_since=after(-5)) + online("c"), beating("c"), watch)
    assert verdict.waiting == ("a", "b")
    assert verdict.doubt == ""
    assert verdict.watch.believe_after == after(25)


def test_nodes_that_vanish_an_interval_apart_did_not_vanish_together() -> None:
    gone_before = Known("a", False, "a-first", missing_since=after(-11))
    verdict = judged([gone_before, *online("b", "c")], beating("c"))
    assert verdict.lost == ("b",)


def test_heartbeats_that_expire_one_by_one_within_an_interval_count_together() -> None:
    gone_before = Known("a", False, "a-first", missing_since=after(-5))
    verdict = judged([gone_before, *online("b", "c")], beating("c"))
    assert verdict.waiting == ("b",)


def test_half_of_the_nodes_is_not_most() -> None:
    assert judged(online("a", "b", "c", "d"), beating("c", "d")).lost == ("a", "b")


def test_a_restarted_redis_is_not_believed_for_one_ttl() -> None:
    verdict = judged(online("a", "b"), beating("b"), redis=RedisNow("run-2", timedelta(seconds=1)))
    assert verdict.waiting == ("a",)
    assert verdict.doubt == "Redis has just restarted"
    assert verdict.watch.run_id == "run-2"


def test_a_redis_that_restarted_unnoticed_long_ago_is_doubted_too() -> None:
    assert judged(online("a"), {}, redis=RedisNow("run-2", timedelta(hours=1))).waiting == ("a",)


def test_a_redis_seen_for_the_first_time_is_believed_if_it_has_run_for_a_ttl() -> None:
    assert judged(online("a", "b"), beating("b"), Watch()).lost == ("a",)


def test_a_redis_seen_for_the_first_time_just_after_its_start_is_not() -> None:
    young = RedisNow("run-1", timedelta(seconds=2))
    assert judged(online("a", "b"), beating("b"), Watch(), young).waiting == ("a",)


def test_a_redis_that_did_not_answer_is_not_believed_for_one_ttl() -> None:
    verdict = judged(online("a", "b"), beating("b"), Watch("run-1", silent=True))
    assert verdict.waiting == ("a",)
    assert not verdict.watch.silent


def test_new_nodes_are_seen_whatever_redis_went_through() -> None:
    assert judged(online("a"), beating("b"), redis=RedisNow("run-2", timedelta(0))).new == ("b",)


def test_a_node_that_comes_back_during_the_doubt_was_never_lost() -> None:
    watch = Watch("run-1", believe_after=after(20))
    verdict = judged(online("a", missing_since=after(-10)), beating("a"), watch)
    assert (verdict.back, verdict.lost, verdict.waiting) == ((), (), ())


def test_a_fenced_node_is_unhealthy_only_after_one_ttl() -> None:
    first = judged(online("a"), beating("a", state="fenced"))
    assert first.ailing == {"a": NOW}
    assert first.unhealthy == frozenset()
    known = [Known("a", True, "a-first", ailing_since=NOW)]
    later = judged(known, beating("a", state="fenced"), now=after(30))
    assert later.unhealthy == {"a"}


def test_a_node_that_recovers_ails_no_more() -> None:
    known = [Known("a", True, "a-first", ailing_since=after(-29))]
    assert judged(known, beating("a")).ailing == {}


def ailing(*ids: str, since: float) -> list[Known]:
    return [Known(i, True, f"{i}-first", ailing_since=after(since)) for i in ids]


def test_when_all_ail_together_the_first_to_recover_is_not_given_what_the_others_have() -> None:
    """Kafka was away from all of them, and one sees it back a moment before the others say so."""
    known = ailing("a", "b", since=-60)
    verdict = judged(known, {**beating("a"), **beating("b", state="unhealthy")})
    assert verdict.unhealthy == frozenset()
    assert verdict.ailing == {"b": NOW}


def test_who_still_ails_one_ttl_after_the_others_recovered_is_unhealthy() -> None:
    known = [*online("a"), *ailing("b", since=-30)]
    assert judged(known, {**beating("a"), **beating("b", state="unhealthy")}).unhealthy == {"b"}


def test_the_recovery_of_one_that_ailed_of_something_else_changes_nothing() -> None:
    known = [*ailing("a", since=-5), *ailing("b", since=-40)]
    verdict = judged(known, {**beating("a"), **beating("b", state="unhealthy")})
    assert verdict.unhealthy == {"b"}
