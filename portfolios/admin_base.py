"""What the admin's pages share: rows nobody edits, links between them, JSON that can be read."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import msgspec
from django import forms
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

T = TypeVar("T")

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
else:
    # Generic for the type checker only.
    ModelForm = forms.ModelForm

# Styles by hand: the stylesheet holds only what its own pages need.
_CODE = (
    "font-family:ui-monospace,monospace;font-size:12px;line-height:1.5;max-height:40rem;overflow:auto;"
    "white-space:pre-wrap;overflow-wrap:anywhere"
)
SIDES = {1: "buy", -1: "sell"}
SIDE_COLOURS = {"buy": "info", "sell": "warning"}


def once(made: Callable[[Any, Any], T]) -> Callable[[Any, Any], T]:
    """A field's contents, made once a page: the templates ask for them more often than that."""

    @functools.wraps(made)
    def shown(page: Any, row: Any) -> T:
        kept: dict[str, Any] = row.__dict__.setdefault("_shown", {})
        if made.__name__ not in kept:
            kept[made.__name__] = made(page, row)
        found: T = kept[made.__name__]
        return found

    return shown


class ReadOnlyAdmin(ModelAdmin):
    """A table that the platform writes and people read."""

    list_per_page = 50
    # Counting a table of millions only to say "of 3,201,554" costs more than the page.
    show_full_result_count = False
    list_fullwidth = True
    list_filter_submit = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def link(model: str, key: Any, text: Any = None) -> SafeString | str:
    """The page of one row; `model` like `market.order`. A dash for no key, plain text where there is no such page."""
    if key in (None, ""):
        return "-"
    try:
        url = reverse(f"admin:{model.replace('.', '_')}_change", args=[key])
    except NoReverseMatch:
        return str(text or key)
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text or key)


def listing(model: str, text: str, **filters: Any) -> SafeString:
    """The list of `model` under these filters."""
    url = reverse(f"admin:{model.replace('.', '_')}_changelist")
    return format_html(
        '<a class="text-primary-600 dark:text-primary-500 whitespace-nowrap" href="{}?{}">{}</a>',
        url,
        urlencode(filters),
        text,
    )


def table(
    heads: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: Collection[int] = (), wide: Collection[int] = ()
) -> SafeString | str:
    """A table on a row's page. `numbers`: the columns that stand right; `wide`: those that may be of several lines."""
    if not rows:
        return "none"
    classes = ["number" if n in numbers else "wide" if n in wide else "still" for n in range(len(heads))]
    return format_html(
        '<div class="gk-scroll"><table class="gk-table"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>',
        format_html_join("", '<th class="{}">{}</th>', zip(classes, heads, strict=True)),
        format_html_join(
            "",
            "<tr>{}</tr>",
            ((format_html_join("", '<td class="{}">{}</td>', zip(classes, row, strict=True)),) for row in rows),
        ),
    )


def pretty(value: Any) -> SafeString:
    """Anything JSON can hold, or a message as it was published, indented."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return _block(value)
    return _block(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def named(value: Any) -> Any:
    """Structs as objects with their fields' names, also those that are stored as arrays."""
    if isinstance(value, msgspec.Struct):
        return {name: named(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    if isinstance(value, dict):
        return {str(key): named(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [named(item) for item in value]
    return value


def short(key: str) -> str:
    """An id in a table: its first block; the whole one stands on the row's own page."""
    return key.partition("-")[0]


def amount(value: Any) -> str:
    """Money or a price: thousands apart, two places, more where there are more."""
    if value is None:
        return "-"
    text = f"{value:,.4f}"
    return text[:-2] if text.endswith("00") else text


def _block(text: str) -> SafeString:
    return format_html('<pre style="{}">{}</pre>', _CODE, text)
