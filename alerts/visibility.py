"""Who may see which alerts: staff all of them, everybody else those about their own portfolios."""

from __future__ import annotations

from typing import Any

from portfolios.models import Portfolio


def portfolios_of(user: Any) -> list[str] | None:
    """The portfolios whose alerts `user` may see; None: every alert there is."""
    if user.is_staff:
        return None
    return list(Portfolio.objects.filter(owner=user).values_list("pk", flat=True))
