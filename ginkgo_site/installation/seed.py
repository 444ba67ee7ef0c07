"""`ginkgo data seed`: three sample portfolios on the seven real codes of the sample feed."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib.auth.models import User

from portfolios import services
from portfolios.models import Portfolio

CODES = ("600519.SH", "603375.SH", "688981.SH", "000001.SZ", "300001.SZ", "300059.SZ", "301499.SZ")


class Sample(NamedTuple):
    """`amount`: CNY a buy. 600519.SH trades above 500, a lot of it above 50,000; a STAR order is at least 200."""

    name: str
    initial_cash: int
    short: int
    long: int
    amount: int
    loss_limit: float
    codes: tuple[str, ...]

    def config(self) -> dict[str, Any]:
        return {
            "strategy": {
                "name": "TrendFollowStrategy",
                "params": {"short_period": self.short, "long_period": self.long},
            },
            "risk_managements": [
                {"name": "PositionRatioRisk", "params": {"max_position_ratio": 0.3, "max_total_position_ratio": 0.9}},
                {"name": "LossLimitRisk", "params": {"loss_limit": self.loss_limit}},
            ],
            "sizer": {"name": "FixedAmountSizer", "params": {"amount": self.amount}},
            "codes": list(self.codes),
        }


# Averages short enough that at one trading day a second the first orders come within seconds.
SAMPLES = (
    Sample("Quick trends", 1_000_000, short=2, long=3, amount=120_000, loss_limit=8, codes=CODES),
    Sample("Steady trends", 2_000_000, short=3, long=8, amount=250_000, loss_limit=12, codes=CODES),
    Sample("Growth boards", 500_000, short=1, long=3, amount=60_000, loss_limit=6,
           codes=("300001.SZ", "300059.SZ", "301499.SZ", "688981.SH", "603375.SH")),
)  # fmt: skip


def seed() -> list[tuple[Portfolio, bool]]:
    """The sample portfolios, wanted running, each with whether it was made now. Raises NotFound without an admin."""
    owner = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    result = []
    for sample in SAMPLES:
        existing = Portfolio.objects.filter(owner=owner, name=sample.name).first() if owner else None
        made = existing or services.create(sample.name, owner, "cn", sample.initial_cash, sample.config(), running=True)
        result.append((made, existing is None))
    return result
