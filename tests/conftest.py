"""Real servers for the tests that ask for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import RunningStack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """The servers of this run, ready; started once, when first asked for.

    Product code in this process finds them too, as addresses are resolved when used.
    """
    with running_stack(Path(os.environ["GINKGO_HOME"])) as running:
        yield running
