"""Finds portfolios and users by what people call them."""

from __future__ import annotations

from django.contrib.auth.models import User

from portfolios.errors import Conflict, NotFound
from portfolios.models import Portfolio


def get(portfolio_id: str) -> Portfolio:
    """Raises NotFound."""
    try:
        return Portfolio.objects.get(id=portfolio_id)
    except Portfolio.DoesNotExist:
        raise not_found(portfolio_id) from None


def find(text: str) -> Portfolio:
    """By id, by the beginning of an id, or by name, where that is unambiguous. Raises NotFound or Conflict."""
    exact = Portfolio.objects.filter(id=text).first()
    if exact is not None:
        return exact
    fits = list(Portfolio.objects.filter(name=text)[:2])
    if not fits and len(text) >= 4:
        fits = list(Portfolio.objects.filter(id__startswith=text.lower())[:2])
    if not fits:
        raise not_found(text)
    if len(fits) > 1:
        raise Conflict(f"several portfolios answer to {text!r}: give the whole id")
    return fits[0]


def locked(portfolio_id: str) -> Portfolio:
    """The row, until the transaction ends. Raises NotFound."""
    try:
        return Portfolio.objects.select_for_update().get(id=portfolio_id)
    except Portfolio.DoesNotExist:
        raise not_found(portfolio_id) from None


def user_of(given: User | str | None) -> User:
    """A user, a user by name, or for None the first administrator. Raises NotFound."""
    if given is None:
        user = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if user is None:
            raise NotFound("there is no administrator yet: run 'ginkgo data init'")
        return user
    if isinstance(given, str):
        user = User.objects.filter(username=given).first()
        if user is None:
            raise NotFound(f"there is no user {given!r}")
        return user
    return given


def not_found(text: str) -> NotFound:
    return NotFound(f"there is no portfolio {text!r}: see 'ginkgo portfolio list'")
