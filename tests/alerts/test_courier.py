"""Couriers, on real servers: a webhook, a mail server, and servers that never answer."""

from __future__ import annotations

import threading
import time

import psutil

from alerts.couriers import Courier, Message
from tests.alerts import servers
from tests.support import eventually

MESSAGE = Message("[critical] node_offline: scheduler", "node-2 is silent", "critical")


def test_a_webhook_gets_the_message() -> None:
    courier = Courier()
    with servers.webhook() as hook:
        assert courier.deliver(hook.url, MESSAGE).sent
        pid = courier.pid
        assert courier.deliver(hook.url, MESSAGE).sent
        assert courier.pid == pid  # started once, not for each
    courier.close()
    assert [(m["title"], m["message"], m["type"]) for m in hook.got] == [(MESSAGE.title, MESSAGE.body, "failure")] * 2
    assert not psutil.pid_exists(pid or 0)


def test_a_mail_gets_to_its_server() -> None:
    courier = Courier()
    with servers.mail_server() as mails:
        url = f"mailto://127.0.0.1:{mails.port}/ops@example.com?from=ginkgo@example.com&mode=insecure"
        outcome = courier.deliver(url, MESSAGE)
    courier.close()
    assert outcome.sent, outcome
    assert "node-2 is silent" in mails.got[0]
    assert "ops@example.com" in mails.got[0]


def test_a_refusal_is_told_without_the_secret_of_the_address() -> None:
    courier = Courier()
    with servers.webhook() as hook:
        hook.status = 403
        outcome = courier.deliver(hook.url, MESSAGE)
        nowhere = courier.deliver("json://user:secret-word@127.0.0.1:1/token-of-the-hook", MESSAGE)
    courier.close()
    assert not outcome.sent
    assert outcome.reason
    assert not nowhere.sent
    for reason in (outcome.reason, nowhere.reason):
        assert "token-of-the-hook" not in reason
        assert "secret-word" not in reason


def test_a_server_that_never_ends_its_answer_is_given_up_in_time_and_the_next_delivery_works() -> None:
    courier = Courier(timeout=2.0)
    with servers.trickling() as port, servers.webhook() as hook:
        started = time.monotonic()
        outcome = courier.deliver(f"json://127.0.0.1:{port}/?rto=30", MESSAGE)
        assert (outcome.sent, outcome.reason) == (False, "no answer within 2 s")
        assert time.monotonic() - started < 10
        assert courier.deliver(hook.url, MESSAGE).sent
    courier.close()


def test_closing_ends_a_delivery_that_is_under_way() -> None:
    courier = Courier(timeout=60)
    outcomes = []
    with servers.trickling() as port:
        url = f"json://127.0.0.1:{port}/?rto=60"
        thread = threading.Thread(target=lambda: outcomes.append(courier.deliver(url, MESSAGE)), name="test_delivery")
        thread.start()
        eventually(lambda: courier.pid is not None)
        courier.close()
        thread.join(10)
    assert [(outcome.sent, outcome.reason) for outcome in outcomes] == [(False, "the notifier is stopping")]
    assert courier.deliver(url, MESSAGE).reason == "the notifier is stopping"
