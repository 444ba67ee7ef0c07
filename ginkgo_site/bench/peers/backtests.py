"""The peers of the backtest: backtesting.py and backtrader, each installed only here, into an environment of its own.

They are under the AGPL and the GPL, so they are in no file of requirements: nothing of ours imports or ships them.
"""

from __future__ import annotations

from pathlib import Path

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.peers.environment import python_with
from ginkgo_site.bench.progress import Say
from ginkgo_site.config import PROJECT

VENV = PROJECT / ".venv-bench-backtest"
_HERE = Path(__file__).parent
_PACKAGES = {
    "backtesting.py": ("backtesting_peer.py", ["backtesting==0.6.6", "pandas==3.1.1", "numpy==2.4.6", "bokeh==3.9.2"]),
    "backtrader": ("backtrader_peer.py", ["backtrader==1.9.78.123"]),
}


def programs(say: Say) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The words that run each on a file (to which the file's name is added), and of those that cannot be run, why."""
    ready: dict[str, list[str]] = {}
    wanted = "\n".join(package for _, packages in _PACKAGES.values() for package in packages)
    try:
        python = str(python_with(wanted, VENV, "backtest: installing backtesting.py and backtrader", say))
    except BenchError as error:
        return {}, dict.fromkeys(_PACKAGES, str(error))
    for name, (program, _) in _PACKAGES.items():
        ready[name] = [python, "-W", "ignore", str(_HERE / program)]
    return ready, {}
