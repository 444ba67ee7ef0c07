"""How pauses are measured, for reload, migration and failover alike: from outside, by the orders that come of ticks.

5,000 ticks a second go into the log, half of them of the five portfolios' 2,500 codes. One tick in 25 of each code is
marked, evenly spread, and each portfolio orders at each of its marked ticks: every 50 ms. A process of its own reads
the orders back from Kafka. A portfolio's *pause* is the longest time between two of its orders, one after the other,
from the moment at which something was asked of it until it is done. So a pause counts applying, checkpointing and
sending, is never shorter than the gap in applying, and contains the 50 ms between two marked ticks.

Afterwards `proof` counts from the log and the checkpoints what was lost or repeated: nothing may be.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ginkgo_site.bench import gaps, ticks
from ginkgo_site.bench.answers import Answers
from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.figures import median, percentile
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.proof import Verdict

RATE, EVERY, PORTFOLIOS = 5_000, 25, 5
CODES_EACH = 500
LONGEST_S = 3_000.0
"""The feed ends with the benchmark; by itself after this."""
NEVER_MORE_S = 30.0
_CALM_S = 5.0


def shares() -> list[list[str]]:
    """The codes of each portfolio: together half of the market."""
    return ticks.shares(ticks.codes(), 2 * PORTFOLIOS, CODES_EACH)[:PORTFOLIOS]


def spare_codes() -> list[str]:
    """Codes of the market that no portfolio has from the beginning."""
    return ticks.shares(ticks.codes(), 2 * PORTFOLIOS, CODES_EACH)[PORTFOLIOS]


@dataclass
class Windows:
    """When something was done to which portfolio, by the monotonic clock; `calm`: when nothing was done to any."""

    done: list[tuple[str, float, float]] = field(default_factory=list)
    calm: tuple[float, float] = (0.0, 0.0)

    def pauses(self, answers: Answers) -> list[float]:
        """Seconds, in the order in which they were."""
        times = {portfolio_id: answers.times(portfolio_id) for portfolio_id, _, _ in self.done}
        try:
            return [gaps.longest(times[portfolio_id], begun, ended) for portfolio_id, begun, ended in self.done]
        except ValueError as error:
            raise BenchError(f"a pause has no end: {error}") from None

    def calm_gap(self, answers: Answers, portfolio_ids: Collection[str]) -> float:
        """The longest silence of any of them while nothing was done."""
        return max(gaps.longest(answers.times(portfolio_id), *self.calm) for portfolio_id in portfolio_ids)


def await_orders(answers: Answers, portfolio_ids: Collection[str], since: Mapping[str, int]) -> None:
    """Until each has ordered again, twice, since it had so many. Raises BenchError after half a minute."""
    pause = threading.Event()
    for _ in range(int(NEVER_MORE_S / 0.05)):
        answers.check()
        if all(len(answers.arrivals[each]) >= since[each] + 2 for each in portfolio_ids):
            return
        pause.wait(0.05)
    raise BenchError(f"{len(portfolio_ids)} portfolios did not go on ordering within {NEVER_MORE_S:g} s")


def counts(answers: Answers, portfolio_ids: Collection[str]) -> dict[str, int]:
    return {each: len(answers.arrivals[each]) for each in portfolio_ids}


def outcome(
    name: str, must: float, pauses: Sequence[float], verdict: Verdict, answers: Answers, details: Mapping[str, float]
) -> Outcome:
    """The 99th percentile of `pauses` (of fifty: the longest) and what the log says."""
    return Outcome(
        name=name,
        ours=percentile(pauses, 99),
        unit="s of pause, p99",
        must=must,
        bound="at most",
        also={"nothing lost or repeated": verdict.clean, f"never longer than {NEVER_MORE_S:g} s": max(pauses) <= 30},
        details={
            f"median of {len(pauses)} pauses (s)": median(pauses),
            "longest (s)": max(pauses),
            **details,
            **verdict.details(),
            "orders sent again": float(answers.again),
        },
        load=os.getloadavg()[0],
    )
