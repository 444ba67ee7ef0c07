"""What tests share: waiting for a condition instead of sleeping."""

from tests.support.eventually import eventually

__all__ = ["eventually"]
