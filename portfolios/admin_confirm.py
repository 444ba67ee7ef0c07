"""A page between a button and what it does: whom it concerns, what will happen, and the one button that does it.

Nothing happens by following a link: only the page's own POST is an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import ModelAdmin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

_YES = "confirmed"
_REPEATED = ("action", ACTION_CHECKBOX_NAME, "select_across", "index")
_SHOWN = 20


def is_answered(request: HttpRequest) -> bool:
    """Whether the page's own button was pressed."""
    return request.method == "POST" and request.POST.get(_YES) == "yes"


def page(
    of: ModelAdmin[Any],
    request: HttpRequest,
    title: str,
    says: str,
    button: str,
    concerned: Iterable[Any],
    *,
    danger: bool = True,
    form: forms.Form | None = None,
    extra: Any = "",
) -> TemplateResponse:
    """Asks. `says`: what will happen; `concerned`: rows, each as it prints itself; `extra`: anything more to be seen.

    Without a `button` it only shows.
    """
    names = [str(each) for each in concerned]
    # A list's action is sent again as it was; one of a single row has it in its address.
    kept = [(name, value) for name in _REPEATED for value in request.POST.getlist(name)]
    return TemplateResponse(
        request,
        "admin/confirm.html",
        {
            **of.admin_site.each_context(request),
            "opts": of.opts,
            "title": title,
            "says": says,
            "button": button,
            "danger": danger,
            "names": names[:_SHOWN],
            "more": max(0, len(names) - _SHOWN),
            "kept": kept,
            "yes": _YES,
            "form": form,
            "extra": extra,
            "back": _back(of, request),
        },
    )


def _back(of: ModelAdmin[Any], request: HttpRequest) -> str:
    info = (of.opts.app_label, of.opts.model_name)
    key = request.resolver_match.kwargs.get("object_id") if request.resolver_match else None
    if key is not None:
        return reverse("admin:{}_{}_change".format(*info), args=[key])
    return reverse("admin:{}_{}_changelist".format(*info))
