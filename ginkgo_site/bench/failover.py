"""Failover: kill -9 of a node, and the seconds until what it ran runs elsewhere.

Two nodes, five portfolios, 5,000 messages a second as in `pauses`. The time ends when of each of the dead node's
portfolios an order has come that its new owner made, not one that it had to send again: running means trading. First
with the default profile, a heartbeat every 10 s that holds for 30, once; then with the fast one, every second and for 3
(and the scheduler's check every half second), several times: each time the dead node comes back and gets its share, and
the fuller of the two dies. Nothing may be lost or applied twice, which is counted for all of it together.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from ginkgo_site.bench import ground, load, node_process, proof
from ginkgo_site.bench import pauses as outside
from ginkgo_site.bench.answers import Answers
from ginkgo_site.bench.figures import median
from ginkgo_site.bench.migration import NODES, owners
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.progress import Say
from ginkgo_site.bench.proof import Verdict

MUST_S, MUST_FAST_S = 36.0, 5.0
FAST_ROUNDS = 5
FAST = {
    "GINKGO_NODE__HEARTBEAT_INTERVAL": "1",
    "GINKGO_NODE__HEARTBEAT_TTL": "3",
    "GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL": "0.5",
    "GINKGO_SCHEDULER__SCHEDULE_INTERVAL": "2",
}
_TAKES_S = 90.0
_SETTLED_S = 3.0


def run(say: Say) -> list[Outcome]:
    """Raises BenchError."""
    ground.prepare()
    codes = ground.witnesses(outside.shares())
    with Answers() as answers, ExitStack() as feed:

        def begin() -> None:
            feed.enter_context(load.running(outside.RATE, outside.LONGEST_S, outside.EVERY))

        # Not before they run: a portfolio that never ran begins at the log's end, and what was before counts as lost.
        seconds = _rounds(codes, answers, {}, 1, say, begin)
        fast = _rounds(codes, answers, FAST, FAST_ROUNDS, say)
        feed.close()
        with node_process.running(NODES[0], FAST) as node, node_process.scheduler(FAST):
            node_process.await_portfolios(node, codes)
            verdict = proof.judge(codes, answers)
    return [
        _outcome("failover", MUST_S, seconds, verdict, verdict.details(), "heartbeat 10 s, TTL 30 s"),
        _outcome("failover-fast", MUST_FAST_S, fast, verdict, {}, "heartbeat 1 s, TTL 3 s"),
    ]


def _outcome(
    name: str, must: float, seconds: list[float], verdict: Verdict, details: Mapping[str, float], profile: str
) -> Outcome:
    return Outcome(
        name=name,
        ours=median(seconds),
        unit="s from kill to running elsewhere",
        must=must,
        bound="at most",
        also={"nothing lost or repeated": verdict.clean},
        details={"kills": len(seconds), "quickest (s)": min(seconds), "slowest (s)": max(seconds), **details},
        notes=[profile],
        load=os.getloadavg()[0],
    )


def _rounds(
    codes: Mapping[str, object],
    answers: Answers,
    profile: Mapping[str, str],
    rounds: int,
    say: Say,
    begin: Callable[[], None] | None = None,
) -> list[float]:
    """The seconds of each kill on a cluster with these intervals; `begin` is called once all portfolios run."""
    found: list[float] = []
    with ExitStack() as cluster:
        nodes = {node_id: cluster.enter_context(node_process.running(node_id, profile)) for node_id in NODES}
        for node_id, node in nodes.items():
            node_process.await_node(node, node_id)
        scheduler = cluster.enter_context(node_process.scheduler(profile))
        if begin is not None:
            node_process.await_portfolios(scheduler, codes)
            begin()
        for number in range(rounds):
            victim = _settled(codes, answers, scheduler)
            found.append(_kill(victim, nodes[victim], codes, answers, scheduler))
            say(f"failover: {found[-1]:.1f} s after kill -9 of {victim}")
            if number + 1 < rounds:
                nodes[victim] = cluster.enter_context(node_process.running(victim, profile))
                node_process.await_node(nodes[victim], victim)
    return found


def _settled(codes: Mapping[str, object], answers: Answers, scheduler: node_process.Child) -> str:
    """Wait until both nodes have a share, and for a while nothing has moved and all have traded; the fuller node."""
    before: dict[str, int] = {}
    traded: dict[str, int] = {}
    since = time.monotonic()

    def settled() -> bool:
        nonlocal before, traded, since
        answers.check()
        owned = owners(codes)
        epochs = {each: row.epoch for each, row in owned.items()}
        if epochs != before or {row.node_id for row in owned.values()} != set(NODES):
            before, traded, since = epochs, outside.counts(answers, codes), time.monotonic()
        going_on = all(len(answers.arrivals[each]) > traded[each] + 1 for each in codes)
        return going_on and time.monotonic() - since > _SETTLED_S

    node_process.until(settled, "both nodes have their share", scheduler, _TAKES_S)
    having = [row.node_id for row in owners(codes).values()]
    return max(NODES, key=having.count)


def _kill(
    victim: str,
    node: node_process.Child,
    codes: Mapping[str, object],
    answers: Answers,
    scheduler: node_process.Child,
) -> float:
    epochs = {each: row.epoch for each, row in owners(codes).items() if row.node_id == victim}
    newest = {each: answers.arrivals[each][-1].event_time for each in epochs}
    # At a moment that has nothing to do with when it last gave a sign of life.
    threading.Event().wait(time.monotonic() % 1)
    killed = time.monotonic()
    node.crash()

    def times() -> list[float | None]:
        return [answers.since_epoch(each, epoch + 1, newest[each]) for each, epoch in epochs.items()]

    node_process.until(lambda: None not in times(), f"what {victim} had runs elsewhere", scheduler, _TAKES_S)
    return max(at for at in times() if at is not None) - killed
