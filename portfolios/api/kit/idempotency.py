"""A POST with an Idempotency-Key is done once: repeated, it gets the stored answer, word for word, for a day.

The same key with another body is refused, for it is a mistake. An answer that was an error is not kept: it changed
nothing, so the same key may try again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import IntegrityError, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from portfolios.api.kit.errors import IDEMPOTENCY_KEY_REUSED, REQUEST_IN_PROGRESS, ApiError, invalid
from portfolios.api.kit.formats import encode
from portfolios.kernel.config import Fault
from portfolios.models import IdempotencyRecord

HEADER = "Idempotency-Key"
FORM = r"^[!-~]{1,100}$"
KEPT = timedelta(hours=24)
_ABANDONED = timedelta(seconds=60)
"""After which a request without an answer is taken to have died with its process."""


def once(request: Request, body: Any, work: Callable[[], Response], atomic: bool) -> Response:
    """`work()`, or its stored answer. Raises ApiError; whatever `work` raises frees the key again.

    `atomic`: inside a transaction, in which the key, the work and its answer are committed together, or none of them.
    """
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None or request.method != "POST":
        return work()
    if not re.fullmatch(FORM, key):
        raise invalid([Fault(HEADER, "must have 1 to 100 printable characters without spaces")])
    now = datetime.now(UTC)
    mine = _take(request, hashlib.sha256(key.encode()).hexdigest(), _fingerprint(request, body), now)
    if mine.status is not None:
        stored = msgspec.Raw(mine.answer.encode()) if mine.answer else None
        return Response(stored, mine.status, headers={**mine.headers, "Idempotent-Replayed": "true"})
    try:
        response = work()
    except BaseException:
        if not atomic:
            IdempotencyRecord.objects.filter(pk=mine.pk).delete()
        raise
    mine.status, mine.headers = response.status_code, _told(response.headers)
    mine.answer = encode(response.data).decode() if response.data is not None else ""
    mine.save(update_fields=["status", "answer", "headers"])
    return response


def _take(request: Request, key: str, fingerprint: str, now: datetime) -> IdempotencyRecord:
    """This key's row: a new one, one that its request abandoned, or one with an answer."""
    IdempotencyRecord.objects.filter(begun_at__lt=now - KEPT).delete()
    try:
        with transaction.atomic():
            return IdempotencyRecord.objects.create(user=request.user, key=key, fingerprint=fingerprint, begun_at=now)
    except IntegrityError:
        row = IdempotencyRecord.objects.filter(user=request.user, key=key).first()
    if row is not None and row.fingerprint != fingerprint:
        raise ApiError(IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key was used for another request: take a new one")
    if row is not None and row.status is not None:
        return row
    abandoned = IdempotencyRecord.objects.filter(user=request.user, key=key, status=None, begun_at__lt=now - _ABANDONED)
    if row is not None and abandoned.update(begun_at=now):
        return row
    raise ApiError(
        REQUEST_IN_PROGRESS, "the same request is under way: ask again in a moment", headers={"Retry-After": "1"}
    )


def _fingerprint(request: Request, body: Any) -> str:
    text = json.dumps([request.method, request.get_full_path(), body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in ("ETag", "Location")}
