"""Real servers for the tests that ask for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.stack import RunningStack, running_stack

# A busy machine is no fault of what is tested; each test has its time limit by pytest.
hypothesis.settings.register_profile("ginkgo", deadline=None)
hypothesis.settings.load_profile("ginkgo")

LONGEST = (
    "tests/integration/test_up.py",
    "tests/protocol/test_protocol.py",
    "tests/market/history/test_history_process.py",
    "tests/market/test_engine_process.py",
    "tests/ginkgo_site/test_cli.py",
    "tests/integration/live/test_parity.py",
    "tests/portfolios/backtest/test_sweep.py",
    "tests/scheduler/test_service.py",
)
"""Files that take a minute or so each, longest first."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Who starts the tests in the background leaves Ctrl-C ignored, and whatever they start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A broker of a minute's life gains nothing from the JVM's slower, better compiler, which takes half of the processor.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files begin, so that at the end no worker is left alone with one of them."""
    rank = {config.rootpath / path: place for place, path in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """The servers of this run, ready; started once, when first asked for.

    Product code in this process finds them too, as addresses are resolved when used.
    """
    with running_stack(Path(os.environ["GINKGO_HOME"])) as running:
        yield running
