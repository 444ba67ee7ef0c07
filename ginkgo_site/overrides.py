"""Options of the command line that stand above the configuration (SPEC sections 2 and 10).

Django reads its settings before a command parses its options, so these few are looked for first and handed on in the
environment, where a child process finds them too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

VARIABLE = "GINKGO_OVERRIDES"
COMMANDS = ("node", "engine", "feed", "livecore", "worker")
KEYS = {
    "--kafka-bootstrap-servers": "kafka.bootstrap_servers",
    "--redis-host": "redis.host",
    "--redis-port": "redis.port",
}


def find(arguments: Sequence[str]) -> dict[str, Any]:
    """Dotted keys and values of the overriding options among a command's arguments (program name left out)."""
    if not arguments or arguments[0] not in COMMANDS:
        return {}
    found: dict[str, Any] = {}
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option not in KEYS:
            continue
        if not equals:
            value = arguments[i + 1] if i + 1 < len(arguments) else ""
        if value:
            key = KEYS[option]
            found[key] = value.split(",") if key.endswith("servers") else int(value) if value.isdigit() else value
    return found


def to_environment(found: dict[str, Any]) -> str:
    return json.dumps(found)
