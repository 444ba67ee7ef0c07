"""JSON in and out. In: strictly what RFC 8259 allows, of bounded size. Out: money as exact numbers, moments in UTC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import IO, Any

import msgspec
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

from portfolios.api.kit.errors import PAYLOAD_TOO_LARGE, ApiError

LARGEST_BODY = 8 * 1024 * 1024
"""Bytes: an exported portfolio with its state fits several times."""


def _number(text: str) -> float | int:
    """292.0 is a whole number, as JSON Schema has it."""
    value = float(text)
    if not math.isfinite(value):
        raise ParseError(f"the body is not JSON: {text} is out of range")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


_decoder = msgspec.json.Decoder(float_hook=_number)
_encoder = msgspec.json.Encoder(decimal_format="number", uuid_format="canonical")


class JsonParser(BaseParser):
    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Raises ParseError for what is no JSON (NaN and lone surrogates are none), ApiError for too much of it."""
        raw = stream.read(LARGEST_BODY + 1)
        if len(raw) > LARGEST_BODY:
            raise ApiError(PAYLOAD_TOO_LARGE, f"the body has more than {LARGEST_BODY // 1024 // 1024} MB")
        try:
            return _decoder.decode(raw)
        except msgspec.MsgspecError as error:
            raise ParseError(f"the body is not JSON: {error}") from None
        except UnicodeDecodeError:
            raise ParseError("the body is not JSON: it is not UTF-8") from None
        except RecursionError:
            raise ParseError("the body is nested too deeply") from None


class JsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return b"" if data is None else _encoder.encode(data)


def encode(data: Any) -> bytes:
    return _encoder.encode(data)
