"""`ginkgo --help`: every command in one line, by what it is for. Needs neither Django nor a configuration."""

from __future__ import annotations

COMMANDS: dict[str, dict[str, str]] = {
    "All of it": {
        "up": "servers, scheduler, engine, nodes, feed and pages, until Ctrl-C",
        "demo": "two nodes trade, one is killed, the books agree; leaves nothing",
        "down": "stop what `ginkgo up --detach` runs",
        "status": "nodes, portfolios, orders and the feed, as of now",
        "top": "the same on a screen that moves",
    },
    "Portfolios": {
        "portfolio": "create, look at, start, stop, configure, fund, export",
        "account": "the accounts they trade in: paper, or real money",
        "backtest": "a portfolio over history, once or for a grid of parameters",
        "components": "strategies, risk rules and sizers, with their parameters",
        "reconcile": "do portfolios, fills and brokers agree about what is held?",
        "parity": "did live do what a backtest on the recorded stream does?",
    },
    "The cluster": {
        "node": "run a node, take one out of service",
        "worker": "another name for `node start`",
        "scheduler": "run it; nodes, plan, moves, commands",
        "engine": "run it; stop and start all trading",
        "feed": "publish market data, record it",
        "livecore": "scheduler, engine and feed in one",
        "history": "keep prices, equity, orders and fills for years",
        "alerts": "keep and tell alerts, look at them",
        "web": "serve the admin and the API",
        "flower": "Celery's workers in a browser",
    },
    "Installation": {
        "data": "tables, topics, administrator; sample portfolios",
        "system": "the configuration: show it, set a value",
        "apikey": "keys by which programs use the API",
        "stack": "the embedded servers alone",
        "mysql": "is it there, and what is in it",
        "redis": "likewise",
        "kafka": "likewise",
        "clickhouse": "likewise",
        "mongo": "likewise",
        "probe": "does a process of the cluster live? For supervisors",
    },
    "Quality": {
        "bench": "how fast it is, beside its peers",
        "drill": "failures on purpose, on a cluster of its own",
    },
}

_HEAD = """\
Usage: ginkgo COMMAND …    Many trading portfolios on many nodes, kept running.
"""
_FOOT = """
  ginkgo up                             everything on this machine
  ginkgo portfolio create --help        what a command takes, and examples
  ginkgo portfolio list --json          one JSON document on stdout
  ginkgo system config show             every setting, and where it came from
  ginkgo --install-completion           the Tab key completes what you type
  ginkgo help --commands                all names, Django's commands among them

Exit codes: 0 done; 1 refused, failed, or a server does not answer; 2 an unknown
command or option, or a configuration that cannot be used; 130 interrupted.
"""


def text() -> str:
    lines = [_HEAD]
    for group, commands in COMMANDS.items():
        lines.append(group)
        lines += [f"  {name:<12}{what}" for name, what in commands.items()]
    return "\n".join(lines) + "\n" + _FOOT


def names() -> list[str]:
    return [name for commands in COMMANDS.values() for name in commands]
