"""Peer: kafka-python, which looks at each message's key.

`python kafka_python.py BOOTSTRAP TOPIC COUNT` reads that many messages from the beginning; prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time

from kafka import KafkaConsumer, TopicPartition


def main(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), enable_auto_commit=False, max_poll_records=5000)
    consumer.assign([TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic) or ()])
    consumer.seek_to_beginning()
    seen = 0
    begun, cpu = 0.0, 0.0
    while seen < count:
        batch = consumer.poll(timeout_ms=10_000)
        if not batch:
            break
        if not seen:
            begun, cpu = time.monotonic(), time.process_time()
        for messages in batch.values():
            for message in messages:
                message.key  # noqa: B018
            seen += len(messages)
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    consumer.close()
    return {"messages": seen, "seconds": seconds, "cpu_seconds": cpu}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))) + "\n")
