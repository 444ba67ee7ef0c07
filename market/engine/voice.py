"""What the engine says aloud: an alert for every message that it could not honour, a log line for the rest."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from market.alerting import Alerter
from market.engine.intake import Outcome, Taken
from market.engine.recording import Contradiction
from market.messages import OrderCancel
from market.models import Order

log = logging.getLogger(__name__)

_EVERY = 60.0
_REMIND = 600.0


class Voice:
    def __init__(self, alerter: Alerter) -> None:
        self._alerter = alerter

    def speak(self, taken: Sequence[Taken]) -> None:
        """After the transaction: about what came to no good."""
        for each in taken:
            message = each.message
            name = f"cancel {message.cancel_id}" if isinstance(message, OrderCancel) else f"order {message.order_id}"
            about = {"order_id": message.order_id, "portfolio_id": message.portfolio_id}
            if each.outcome is Outcome.FENCED:
                self._alerter.raise_alert(
                    "order_fenced",
                    "critical",
                    f"The {name} of portfolio {message.portfolio_id} is of a stale owner ({each.reason}): not sent",
                    at_most_every=_EVERY,
                    subject=f"{name}:{message.epoch}",
                    epoch=message.epoch,
                    **about,
                )
            elif each.outcome is Outcome.CONFLICT:
                self._alert(f"Ignored a message: {each.reason}", subject=name, **about)
            elif each.outcome is Outcome.UNKNOWN:
                what = f"Ignored the {name}: portfolio {message.portfolio_id} does not exist"
                self._alert(what, subject=message.portfolio_id, **about)
            elif each.outcome is Outcome.MALFORMED:
                self._alert(f"Ignored the {name[:60]}: {each.reason}", subject=name, **about)
            elif each.outcome is Outcome.REJECTED:
                log.info("Rejected %s of portfolio %s: %s", name, message.portfolio_id, each.reason)

    def doubt(self, order: Order, what: str) -> None:
        """An order that only an operator can settle: said once, and again every ten minutes."""
        self._alerter.raise_alert(
            "order_in_doubt",
            "critical",
            f"Order {order.order_id} of portfolio {order.portfolio_id} is in doubt: {what}",
            at_most_every=_REMIND,
            subject=order.order_id,
            order_id=order.order_id,
            portfolio_id=order.portfolio_id,
        )

    def contradiction(self, wrong: Contradiction) -> None:
        self._alert(f"Order {wrong.order_id}: {wrong.what}", subject=wrong.order_id, order_id=wrong.order_id)

    def _alert(self, message: str, subject: str, **about: str) -> None:
        self._alerter.raise_alert("data_anomaly", "warning", message, at_most_every=_EVERY, subject=subject, **about)
