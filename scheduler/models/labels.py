"""Labels as an operator may write them."""

from __future__ import annotations

from django.core.exceptions import ValidationError


def validate_node_labels(value: object) -> None:
    """Each key with one value or a list of them."""
    if not isinstance(value, dict):
        raise ValidationError('must be an object like {"market": ["cn"], "region": ["sh"]}')
    for key, item in value.items():
        values = item if isinstance(item, list) else [item]
        if not values or not all(isinstance(v, str) and v for v in values):
            raise ValidationError(f"{key}: must be a text or a list of texts")


def validate_requirement(value: object) -> None:
    """Each key with the one value that the node must carry."""
    if not isinstance(value, dict):
        raise ValidationError('must be an object like {"region": "sh"}')
    for key, item in value.items():
        if not isinstance(item, str) or not item:
            raise ValidationError(f"{key}: must be a text")
