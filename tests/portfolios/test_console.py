"""What the commands say when the database is not what they need."""

from __future__ import annotations

from django.db import OperationalError, ProgrammingError, connection

from portfolios.console import database_trouble


def test_a_database_without_its_tables_is_told_from_one_that_is_away() -> None:
    assert database_trouble(OperationalError("no such table: portfolios_portfolio")).endswith("run 'ginkgo data init'")
    assert database_trouble(ProgrammingError(1146, "Table 'ginkgo.portfolios_portfolio' doesn't exist")) == (
        "the database is new or older than this version (1146 Table 'ginkgo.portfolios_portfolio' doesn't exist): "
        "run 'ginkgo data init'"
    )
    away = database_trouble(OperationalError(2003, "Can't connect to MySQL server on '127.0.0.1'"))
    assert away == "the database does not answer (2003 Can't connect to MySQL server on '127.0.0.1')"


def test_the_databases_own_words_for_a_missing_table_are_known(db: None) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM there_is_no_such_table")
    except (OperationalError, ProgrammingError) as error:
        assert "ginkgo data init" in database_trouble(error)
    else:
        raise AssertionError("there was such a table")
