"""Migration: fifty planned moves of five portfolios between two nodes at 5,000 messages a second; see `pauses`.

As an operator asks for them: the scheduler tells the source, which gives the portfolio away with its last checkpoint,
and the target starts it. A move is done when the target's first order has come. Everything runs with the default
intervals; the scheduler places the portfolios in the beginning, and always the fuller node gives one away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from ginkgo_site.bench import ground, load, node_process, proof
from ginkgo_site.bench import pauses as outside
from ginkgo_site.bench.answers import Answers
from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.pauses import Windows
from ginkgo_site.bench.progress import Say
from portfolios.models import Assignment
from scheduler import operations

MOVES = 50
MUST_S = 1.0
NODES = ("bench-1", "bench-2")
_WARM_UP_S, _CALM_S = 3.0, 5.0


def run(say: Say) -> list[Outcome]:
    """Raises BenchError."""
    ground.prepare()
    codes = ground.witnesses(outside.shares())
    windows, pause = Windows(), threading.Event()
    asked: list[float] = []
    with (
        node_process.running(NODES[0]) as first,
        node_process.running(NODES[1]) as second,
        Answers() as answers,
    ):
        for node_id, node in zip(NODES, (first, second), strict=True):
            node_process.await_node(node, node_id)
        with node_process.scheduler() as scheduler:
            node_process.await_portfolios(scheduler, codes)
            with load.running(outside.RATE, outside.LONGEST_S, outside.EVERY):
                outside.await_orders(answers, codes, dict.fromkeys(codes, 0))
                pause.wait(_WARM_UP_S)
                begun = time.monotonic()
                pause.wait(_CALM_S)
                windows.calm = begun, time.monotonic()
                moved = dict.fromkeys(codes, 0.0)
                for number in range(MOVES):
                    portfolio_id, target = choose(owners(codes), moved)
                    begun = time.monotonic()
                    _move(portfolio_id, target, answers, scheduler)
                    moved[portfolio_id] = time.monotonic()
                    windows.done.append((portfolio_id, begun, moved[portfolio_id]))
                    asked.append(moved[portfolio_id] - begun)
                    outside.await_orders(answers, codes, outside.counts(answers, codes))
                    if number % 10 == 9:
                        say(f"migration: {number + 1} of {MOVES} done")
            verdict = proof.judge(codes, answers)
    details = {
        "longest from asking to running there (s)": max(asked),
        "longest gap without a move (s)": windows.calm_gap(answers, codes),
    }
    return [outside.outcome("migration", MUST_S, windows.pauses(answers), verdict, answers, details)]


def owners(codes: Mapping[str, object]) -> dict[str, Assignment]:
    return {each.portfolio_id: each for each in Assignment.objects.filter(portfolio_id__in=list(codes))}


def choose(owned: Mapping[str, Assignment], moved: Mapping[str, float]) -> tuple[str, str]:
    """Of the fuller node the portfolio that was moved the longest time ago, and where it is to go."""
    having = [each.node_id for each in owned.values()]
    source, target = sorted(NODES, key=having.count, reverse=True)
    return min((each for each in owned if owned[each].node_id == source), key=lambda each: moved[each]), target


def _move(portfolio_id: str, target: str, answers: Answers, scheduler: node_process.Child) -> None:
    """Raises BenchError if it is refused, or not done in time."""
    epoch = Assignment.objects.get(portfolio_id=portfolio_id).epoch
    answer = operations.migrate(portfolio_id, target, issued_by="ginkgo bench")
    if not answer.accepted:
        raise BenchError(f"a move to {target} was refused: {answer.reason}")

    def there() -> bool:
        answers.check()
        return answers.since_epoch(portfolio_id, epoch + 1) is not None

    node_process.until(there, f"a portfolio has moved to {target}", scheduler)
