"""Peer: confluent-kafka alone, which looks at each message's key and does nothing with it.

`python bare.py BOOTSTRAP TOPIC COUNT` reads that many messages from the beginning; prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time

from confluent_kafka import Consumer, TopicPartition


def main(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused.bare", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "fetch.queue.backoff.ms": 5})  # fmt: skip
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    seen = 0
    first = consumer.poll(30)
    begun, cpu = time.monotonic(), time.process_time()
    while first is not None and seen < count:
        messages = consumer.consume(1000, 0)
        first.key()
        for message in messages:
            message.key()
        seen += len(messages) + 1
        first = consumer.poll(10) if seen < count else None
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    consumer.close()
    return {"messages": seen, "seconds": seconds, "cpu_seconds": cpu}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))) + "\n")
