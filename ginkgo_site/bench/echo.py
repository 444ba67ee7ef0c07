"""Two bare Kafka hops: `python -m ginkgo_site.bench.echo KEY…` sends what it reads under these keys straight on.

It reads the market's topic and writes to the orders' with the clients that a node has, and does nothing else.
"""

from __future__ import annotations

import signal
import sys
import threading

import django
from confluent_kafka import OFFSET_END, TopicPartition


def main(keys: set[bytes]) -> None:
    """Until SIGTERM."""
    from ginkgo_site.bench.ground import TOPIC
    from market import bus, topics

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    consumer = bus.make_consumer("bench.echo")
    partitions = consumer.list_topics(TOPIC, 10).topics[TOPIC].partitions
    consumer.assign([TopicPartition(TOPIC, partition, OFFSET_END) for partition in partitions])
    producer = bus.make_producer("bench.echo")
    while not stopping.is_set():
        first = consumer.poll(0.1)
        if first is None:
            continue
        for message in (first, *consumer.consume(1000, 0)):
            if message.key() in keys:
                producer.produce(topics.ORDERS_SUBMISSION, key=message.key(), value=message.value())
        producer.poll(0)
    producer.flush(1)
    consumer.close()


if __name__ == "__main__":
    django.setup()
    main({key.encode() for key in sys.argv[1:]})
