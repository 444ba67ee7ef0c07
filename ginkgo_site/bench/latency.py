"""Latency: a tick produced → its order read back from Kafka, at 5,000 messages a second, checkpoint included.

Every second probe goes to a real node, whose portfolio crosses and orders on it; the others to a bare echo between the
same two topics, with the same clients: the same broker, the same moment, the same load.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from django.db import connection

from ginkgo_site.bench import ground, load, node_process, ticks
from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.figures import median, percentile
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.programs import module
from ginkgo_site.bench.progress import Say
from ginkgo_site.supervisor.detach import environment
from market import bus, topics
from market.messages import DecodeError, Feedback, OrderSubmission, PriceUpdate, decode_order, decode_price, encode

RATE = 5_000
ROUNDS = 5
TIMES_P50, TIMES_P99 = 2.5, 1.5
_ROUND_S, _WARM_UP_S = 15.0, 20.0
_SLOT_S = 0.0125
_APART = timedelta(seconds=61)
"""Event time between two orders of a code: after a rejection a portfolio waits for 60 s."""
_OURS = tuple(f"{605000 + i}.SH" for i in range(60))
_BARE = tuple(f"{603900 + i}.SH" for i in range(60))


def run(say: Say) -> list[Outcome]:
    """Raises BenchError."""
    ground.prepare()
    placed = ground.place(ticks.shares(ticks.codes(), 5, 500))
    # Averages of one and two prices: a fall, then a rise, is a crossing and so an order.
    placed += ground.place([_OURS], short=1, long=2)
    rounds: list[dict[str, list[float]]] = []
    with node_process.running() as process, _echo():
        node_process.await_portfolios(process, placed)
        probe = Probe()
        with load.running(RATE, _WARM_UP_S + ROUNDS * _ROUND_S + 30):
            probe.run(_WARM_UP_S)
            probe.lost = 0  # a first price cannot cross
            for number in range(ROUNDS):
                found = probe.run(_ROUND_S)
                if min(map(len, found.values())) < 100:
                    raise BenchError(f"only {len(found['ours'])} orders came back in {_ROUND_S:g} s")
                ours, bare = (percentile(found[name], 50) for name in ("ours", "bare"))
                say(f"latency: round {number + 1} of {ROUNDS}: p50 {ours:.1f} ms, bare {bare:.1f} ms")
                rounds.append(found)
        lost = probe.close()
    return outcomes(rounds, lost, connection.vendor)


def outcomes(rounds: list[dict[str, list[float]]], lost: int, database: str) -> list[Outcome]:
    """Medians over the rounds of each round's percentile, in ms; the bound is a multiple of the bare hops' own."""

    def made(percent: int, times: float) -> Outcome:
        ours, bare = (median([percentile(found[name], percent) for found in rounds]) for name in ("ours", "bare"))
        return Outcome(
            name=f"latency-p{percent}",
            ours=ours,
            unit="ms",
            must=times * bare,
            bound="at most",
            peers={"two bare Kafka hops": bare},
            details={
                f"times the bare hops (must be {times:g})": ours / bare,
                "orders measured": float(sum(len(found["ours"]) for found in rounds)),
                "probes without an answer": float(lost),
            },
            notes=[f"checkpoints on {database}"],
            load=os.getloadavg()[0],
        )

    return [made(50, TIMES_P50), made(99, TIMES_P99)]


class Probe:
    """Sends a probe every 12.5 ms, to the node and to the echo in turn, and takes the time until it comes back.

    One thread does both, so that neither waits for the other's turn at the interpreter. It rejects every order, as an
    engine would, so that none stays open.
    """

    def __init__(self) -> None:
        self._producer: Producer = bus.make_producer("bench.probe")
        self._consumer: Consumer = bus.make_consumer("bench.probe")
        partitions = (
            self._consumer.list_topics(topics.ORDERS_SUBMISSION, 10).topics[topics.ORDERS_SUBMISSION].partitions
        )
        self._consumer.assign([TopicPartition(topics.ORDERS_SUBMISSION, p, OFFSET_END) for p in partitions])
        self._ring = [code for pair in zip(_OURS, _BARE, strict=True) for code in pair]
        self._at = 0
        self._pseq = 0
        self._now = ticks.OPENING
        self._sent: dict[str, float] = {}
        self.lost = 0

    def run(self, seconds: float) -> dict[str, list[float]]:
        """Milliseconds of each probe that came back, of `ours` and of `bare`."""
        found: dict[str, list[float]] = {"ours": [], "bare": []}
        begun = time.monotonic()
        slot = 0
        while (elapsed := time.monotonic() - begun) < seconds:
            if elapsed >= slot * _SLOT_S:
                slot += 1
                self._send_next(found)
            self._receive(max(0.0, slot * _SLOT_S - (time.monotonic() - begun)), found)
        return found

    def close(self) -> int:
        """How many probes never came back."""
        self._producer.flush(5)
        self._consumer.close()
        return self.lost

    def _send_next(self, found: dict[str, list[float]]) -> None:
        size = len(self._ring)
        self._at += 1
        if self._at % size == 0:
            self._now += _APART
        # A price falls half a turn before it rises: by then it has long been read.
        self._tick(self._ring[(self._at + size // 2) % size], 9.9)
        code = self._ring[self._at % size]
        if self._sent.pop(code, None) is not None and self._at > size + size // 2:
            # Not back after a whole turn: that is how long it counts.
            self.lost += 1
            found["ours" if code in _OURS else "bare"].append(size * _SLOT_S * 1000)
        self._sent[code] = time.perf_counter()
        self._tick(code, 10.1)

    def _tick(self, code: str, price: float) -> None:
        tick = PriceUpdate(code=code, timestamp=self._now, price=price, prev_close=10.0)
        self._producer.produce(ground.TOPIC, key=code, value=encode(tick))
        self._producer.poll(0)

    def _receive(self, timeout: float, found: dict[str, list[float]]) -> None:
        message = self._consumer.poll(timeout)
        received = time.perf_counter()
        if message is None or message.error() is not None:
            return
        value = message.value()
        try:
            order = decode_order(value)
        except DecodeError:
            tick = decode_price(value)
            if tick.price > 10 and (sent := self._sent.pop(tick.code, None)) is not None:
                found["bare"].append((received - sent) * 1000)
            return
        if not isinstance(order, OrderSubmission) or order.code not in _OURS:
            return
        if (sent := self._sent.pop(order.code, None)) is not None:
            found["ours"].append((received - sent) * 1000)
        self._reject(order)

    def _reject(self, order: OrderSubmission) -> None:
        self._pseq += 1
        answer = Feedback(
            event_type="order_rejected",
            timestamp=order.timestamp,
            order_id=order.order_id,
            portfolio_id=order.portfolio_id,
            seq=1,
            pseq=self._pseq,
            status="rejected",
            reason="a benchmark",
        )
        self._producer.produce(topics.ORDERS_FEEDBACK, key=order.portfolio_id, value=encode(answer))


@contextmanager
def _echo() -> Iterator[None]:
    process = subprocess.Popen(module("ginkgo_site.bench.echo", *_BARE), env=environment(), stdin=subprocess.DEVNULL)
    try:
        yield
        if process.poll() is not None:
            raise BenchError(f"the echo ended (exit code {process.returncode})")
    finally:
        process.terminate()
        process.wait(10)
