"""A message that cannot be decoded: count, log where it is, alert once a minute, skip (SPEC section 3)."""

from __future__ import annotations

import logging

from market.alerting import Alerter
from market.messages import DecodeError

log = logging.getLogger(__name__)

UNDECODABLE = (DecodeError, UnicodeDecodeError, TypeError, RecursionError)
"""What decoding bytes from anywhere can raise: no JSON, no UTF-8, no value at all, or nested without end."""


class PoisonCounter:
    def __init__(self, alerter: Alerter) -> None:
        self._alerter = alerter
        self.count = 0

    def skip(self, topic: str, partition: int, offset: int, error: Exception) -> None:
        """Account for one undecodable message at topic:partition:offset."""
        self.count += 1
        where = f"{topic}:{partition}:{offset}"
        log.error("Skipped a message that cannot be decoded at %s: %s", where, error)
        self._alerter.raise_alert(
            "data_anomaly",
            "warning",
            f"A message at {where} cannot be decoded and was skipped: {error}",
            at_most_every=60,
            subject=topic,
            topic=topic,
            partition=partition,
            offset=offset,
            skipped=self.count,
        )
