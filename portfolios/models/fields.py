"""Column types shared by the models: money as exact decimals, ids as text as on the wire."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models


def new_id() -> str:
    return str(uuid.uuid4())


def money(**kwargs: Any) -> models.DecimalField:
    """An amount in the portfolio's currency, to 0.0001: the kernel's unit of account."""
    return models.DecimalField(max_digits=20, decimal_places=4, **kwargs)
