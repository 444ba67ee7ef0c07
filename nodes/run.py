"""What `ginkgo node start` does: check that the servers are there, then be a Celery worker that is a node."""

from __future__ import annotations

import logging
import re
import sys
import warnings

import redis
from celery import current_app
from confluent_kafka import KafkaException
from django.conf import settings
from django.db import Error as DatabaseError

from market import memory
from market.bus import KafkaUnavailable
from nodes import worker
from nodes.identity import NodeIdInUse
from nodes.node import Node
from portfolios.calendars import CalendarError
from portfolios.livestate import RedisUnavailable

_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def start_node(node_id: str, max_portfolios: int | None) -> None:
    """Run a node until it is stopped, and exit with its code; what keeps it from starting is one line, exit code 1."""
    config = settings.GINKGO
    if not _NODE_ID.fullmatch(node_id):
        _fail(f"--node-id {node_id!r}: letters, digits, '.', '_' and '-', at most 64")
    logging.getLogger().setLevel(config.node.log_level)
    for noisy in ("celery", "kombu", "amqp", "kafka"):
        logging.getLogger(noisy).setLevel("WARNING")
    # Containers run as root; the operator decides that, not every start of every node.
    warnings.filterwarnings("ignore", message=".*superuser privileges.*")
    memory.share_heaps()
    node = Node(node_id, config.node, config.home, config.kafka.partition_pruning, max_portfolios)
    try:
        node.prepare()
    except NodeIdInUse as error:
        _fail(f"{error}; choose another --node-id or stop that one")
    except (KafkaUnavailable, KafkaException, RedisUnavailable, CalendarError) as error:
        _fail(str(error))
    except redis.RedisError as error:
        _fail(f"Redis does not answer: {error}")
    except DatabaseError as error:
        _fail(f"the database does not answer: {error}")
    try:
        code = worker.run(current_app._get_current_object(), node, config.node.log_level)
    finally:
        node.stop()
    sys.exit(code)


def _fail(message: str) -> None:
    sys.stderr.write(f"ginkgo: {message}\n")
    sys.exit(1)
