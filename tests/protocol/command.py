"""The simulation's command: many schedules on all cores, one told step by step, or the mutants, each until it is found.

python -m tests.protocol --schedules 5000            many; a failing one prints how to see it again
python -m tests.protocol --seed 4711                 one, told step by step
python -m tests.protocol --mutants 10000             each mutant, in at most so many schedules
python -m tests.protocol --seed 7 --mutant "NAME"    what a mutant does in one schedule
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import django

_COLLECT_EVERY = 50
_AT_ONCE = 100


@dataclass(frozen=True)
class Failure:
    """A schedule that broke an invariant."""

    seed: int
    what: str


def main() -> None:
    arguments = _parse()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    django.setup()
    from tests.protocol import ports

    ports.install(real_sql=arguments.store == "sql")
    if arguments.mutant:
        _mutant(arguments.mutant).apply()
    gc.collect()
    gc.freeze()
    gc.disable()  # between schedules only: it is a tenth of the time
    if arguments.seed is not None:
        sys.exit(_tell(arguments.seed, arguments))
    if arguments.mutants:
        sys.exit(_find_mutants(arguments))
    sys.exit(_run_many(arguments))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.protocol", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--schedules", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first one's seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, help="this one only, step by step")
    parser.add_argument("--mutant", default="", help="with this fault in the product")
    parser.add_argument("--mutants", type=int, default=0, metavar="N", help="each fault, in up to N schedules")
    parser.add_argument("--store", choices=("memory", "serial", "sql"), default="memory", help="the database")
    parser.add_argument("--digest", action="store_true", help="print what each schedule came to")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _mutant(name: str) -> Any:
    from tests.protocol.mutants import MUTANTS

    found = [mutant for mutant in MUTANTS if mutant.name == name]
    if not found:
        sys.exit(f"there is no mutant {name!r}; there are: {'; '.join(mutant.name for mutant in MUTANTS)}")
    return found[0]


def _cluster(seed: int, store: str, trace: bool = False) -> Any:
    from tests.protocol.world import Cluster

    return Cluster(seed, store, trace)


def _tell(seed: int, arguments: argparse.Namespace) -> int:
    from tests.protocol.hub import Violation

    cluster = _cluster(seed, arguments.store, trace=True)
    found = ""
    try:
        cluster.run()
    except Violation as violation:
        found = str(violation)
    print("\n".join(cluster.hub.trace))
    print(f"\nseed {seed}: {cluster.plan}")
    print(f"VIOLATION: {found}" if found else "no violation")
    return 1 if found else 0


def _try(seed: int, store: str) -> tuple[Failure | None, int, str]:
    """What it broke, if anything, its steps, and a digest of all that happened."""
    from tests.protocol.hub import Violation

    cluster = _cluster(seed, store)
    failure = None
    try:
        cluster.run()
    except Violation as violation:
        failure = Failure(seed, str(violation))
    except BaseException:
        failure = Failure(seed, f"the simulation itself failed:\n{traceback.format_exc()}")
    if seed % _COLLECT_EVERY == 0:
        gc.collect()
    return failure, cluster.hub.steps, cluster.digest()


def _piece(piece: tuple[int, int, str]) -> tuple[list[Failure], int, list[str]]:
    first, count, store = piece
    failures, steps, digests = [], 0, []
    for seed in range(first, first + count):
        failure, took, digest = _try(seed, store)
        steps += took
        digests.append(f"{seed} {digest}")
        if failure is not None:
            failures.append(failure)
    return failures, steps, digests


def _run_many(arguments: argparse.Namespace) -> int:
    end = arguments.first + arguments.schedules
    pieces = [(at, min(_AT_ONCE, end - at), arguments.store) for at in range(arguments.first, end, _AT_ONCE)]
    began, steps = time.perf_counter(), 0
    failures: list[Failure] = []
    for found, took, digests in _map(_piece, pieces, arguments.jobs):
        failures += found
        steps += took
        if arguments.digest:
            print("\n".join(digests))
    seconds = time.perf_counter() - began
    if arguments.json:
        facts = {"schedules": arguments.schedules, "steps": steps, "seconds": round(seconds, 1)}
        print(json.dumps({**facts, "failures": [asdict(each) for each in failures]}))
    elif not arguments.digest:
        for each in failures[:20]:
            print(f"seed {each.seed}: {each.what}\n    again: {_again(each.seed, arguments)}")
        print(f"{arguments.schedules} schedules, {steps} steps, {len(failures)} violations, {seconds:.1f} s")
    return 1 if failures else 0


def _find_mutants(arguments: argparse.Namespace) -> int:
    from tests.protocol.mutants import MUTANTS

    work = [(mutant.name, arguments.mutants, arguments.first) for mutant in MUTANTS]
    results = []
    for found in _map(_hunt, work, arguments.jobs, processes_of_their_own=True):
        results.append(found)
        if not arguments.json:
            name, seed, tried, what = found
            print(f"{name:60} {f'in {tried:5}: ' + what[:110] if seed else 'NOT FOUND ' + what}", flush=True)
    if arguments.json:
        print(
            json.dumps({name: {"seed": seed, "schedules": tried, "what": what} for name, seed, tried, what in results})
        )
    return 0 if all(seed for _, seed, _, _ in results) else 1


def _hunt(work: tuple[str, int, int]) -> tuple[str, int, int, str]:
    """In a process of its own: the mutant's name, the seed that found it (0: none did), how many it took, and what."""
    from tests.protocol.mutants import Stale

    name, most, first = work
    try:
        _mutant(name).apply()
    except Stale as stale:
        return name, 0, 0, f"(stale: {stale})"
    for seed in range(first, first + most):
        failure, _, _ = _try(seed, "memory")
        if failure is not None:
            lines = failure.what.strip().splitlines()
            return name, seed, seed - first + 1, f"{lines[0]} {lines[-1] if len(lines) > 1 else ''}"
    return name, 0, most, ""


def _map(
    work: Callable[[Any], Any], pieces: list[Any], jobs: int, processes_of_their_own: bool = False
) -> Iterator[Any]:
    if jobs == 1 and not processes_of_their_own:
        yield from map(work, pieces)
        return
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, maxtasksperchild=1 if processes_of_their_own else None) as pool:
        yield from pool.imap(work, pieces)


def _again(seed: int, arguments: argparse.Namespace) -> str:
    mutant = f' --mutant "{arguments.mutant}"' if arguments.mutant else ""
    return f"python -m tests.protocol --seed {seed}{mutant}"
