"""A transaction whose client falls silent does not keep its locks; between two, a connection may be idle."""

from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction

from ginkgo_site.mysql import base

pytestmark = [
    pytest.mark.servers,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'mysql'", reason="SQLite's locks die with their process"),
]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "IDLE_S", 1)
    connection.close()  # a round of the scheduler's, in a test before, leaves it with a second of patience for locks


def rename(name: str) -> None:
    User.objects.update(first_name=name)


def wait_timeout() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@wait_timeout")
        return int(cursor.fetchone()[0])


def test_a_silent_transaction_is_rolled_back_and_blocks_nobody(impatient: None) -> None:
    User.objects.create(username="trader")
    locked, woken = threading.Event(), threading.Event()
    said: list[str] = []

    def falls_silent() -> None:
        try:
            with transaction.atomic():
                rename("frozen")
                locked.set()
                woken.wait(20)
        except OperationalError as error:
            said.append(str(error))
        finally:
            connection.close()

    thread = threading.Thread(target=falls_silent)
    thread.start()
    assert locked.wait(10)
    rename("successor")  # waits for the lock, and has it
    woken.set()
    thread.join(10)
    assert said and User.objects.get().first_name == "successor"


def test_between_transactions_a_connection_may_be_idle(impatient: None) -> None:
    usual = wait_timeout()
    with transaction.atomic():
        rename("inside")
        assert wait_timeout() == 1
    assert wait_timeout() == usual > 60


def test_connections_that_verify_nothing_share_what_takes_long_to_make() -> None:
    other = connection.copy()
    try:
        connection.ensure_connection()
        other.ensure_connection()
        assert connection.connection is not other.connection
        assert connection.connection.ctx is other.connection.ctx
        assert connection.connection._create_ssl_ctx({"ca": None}) is not other.connection.ctx
    finally:
        other.close()
