"""Reload: fifty new configurations for five portfolios on one node at 5,000 messages a second; see `pauses`.

Each changes the sizer's amount; every other one also adds a code, or takes it away again, so that the portfolio has to
find its place in a part of the log that it did not read. Strategies keep their memories: what they have counted is the
proof. The feed that orders come from, the answers to them and the node are three processes.
"""

from __future__ import annotations

import threading
import time

from ginkgo_site.bench import ground, load, node_process, proof, witness
from ginkgo_site.bench import pauses as outside
from ginkgo_site.bench.answers import Answers
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.pauses import Windows
from ginkgo_site.bench.progress import Say
from portfolios import services
from portfolios.models import Checkpoint, Portfolio
from portfolios.models.portfolio import Status

RELOADS = 50
MUST_S = 0.5
_WARM_UP_S, _CALM_S = 3.0, 5.0


def run(say: Say) -> list[Outcome]:
    """Raises BenchError."""
    ground.prepare()
    codes = ground.witnesses(outside.shares(), ground.NODE_ID)
    windows, pause = Windows(), threading.Event()
    with node_process.running() as node, Answers() as answers:
        node_process.await_portfolios(node, codes)
        with load.running(outside.RATE, outside.LONGEST_S, outside.EVERY):
            outside.await_orders(answers, codes, dict.fromkeys(codes, 0))
            pause.wait(_WARM_UP_S)
            begun = time.monotonic()
            pause.wait(_CALM_S)
            windows.calm = begun, time.monotonic()
            ids = list(codes)
            for number in range(RELOADS):
                portfolio_id = ids[number % len(ids)]
                _reload(portfolio_id, codes[portfolio_id], number, answers, windows, node)
                if number % 10 == 9:
                    say(f"reload: {number + 1} of {RELOADS} done")
            outside.await_orders(answers, codes, outside.counts(answers, codes))
        verdict = proof.judge(codes, answers)
    pauses = windows.pauses(answers)
    details = {
        "longest that added or removed a code (s)": max(pauses[n] for n in range(RELOADS) if _with_codes(n)),
        "longest gap without a reload (s)": windows.calm_gap(answers, codes),
    }
    return [outside.outcome("reload", MUST_S, pauses, verdict, answers, details)]


def _with_codes(number: int) -> bool:
    """Of each portfolio's turns, every second and third of four: a code is added, and taken away again."""
    return number // outside.PORTFOLIOS % 4 in (1, 2)


def _reload(
    portfolio_id: str,
    codes: tuple[str, ...],
    number: int,
    answers: Answers,
    windows: Windows,
    node: node_process.Child,
) -> None:
    turn = number // outside.PORTFOLIOS
    added = (
        outside.spare_codes()[number % outside.PORTFOLIOS : number % outside.PORTFOLIOS + 1] if turn % 4 == 1 else []
    )
    begun = time.monotonic()
    version = services.update_config(
        portfolio_id, witness.config([*codes, *added], witness.AMOUNT + 1 + number), None
    ).version

    def done() -> bool:
        saved = Checkpoint.objects.filter(portfolio_id=portfolio_id, config_version=version)
        return saved.exists() and Portfolio.objects.filter(id=portfolio_id, status=Status.RUNNING).exists()

    node_process.until(done, f"version {version} runs", node)
    windows.done.append((portfolio_id, begun, time.monotonic()))
    outside.await_orders(answers, [portfolio_id], outside.counts(answers, [portfolio_id]))
