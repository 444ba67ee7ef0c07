"""A ClickHouse server for tests: the native protocol on a port of 127.0.0.1, before ClickHouse's own engine (chdb).

    python -m tests.market.history.clickhouse FOLDER PORT

No ClickHouse server can be had from PyPI, but its engine can. What is ours here is the server's side of the protocol
(at revision 54429, as servers of 2020 speak it, with the driver's own codecs); SQL, tables, merges and files are
ClickHouse's. It may be killed and started again on the same folder. A file `FOLDER/deaf` makes it take an INSERT and
hang up instead of answering.
"""

from __future__ import annotations

import io
import re
import socket
import socketserver
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from chdb.session import Session
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.bufferedreader import BufferedSocketReader
from clickhouse_driver.bufferedwriter import BufferedSocketWriter
from clickhouse_driver.protocol import ClientPacketTypes as Client
from clickhouse_driver.protocol import ServerPacketTypes as Server
from clickhouse_driver.reader import read_binary_str, read_binary_uint8
from clickhouse_driver.streams.native import BlockInputStream, BlockOutputStream
from clickhouse_driver.varint import read_varint, write_varint
from clickhouse_driver.writer import write_binary_int32, write_binary_str, write_binary_uint8

REVISION = 54429
_INSERT = re.compile(r"INSERT INTO (\S+) \((.*)\) VALUES", re.IGNORECASE | re.DOTALL)


def _context(revision: int) -> Any:
    info = SimpleNamespace(used_revision=revision, get_timezone=lambda: "UTC")
    return SimpleNamespace(
        server_info=info, settings={}, client_settings={"strings_as_bytes": True, "strings_encoding": "utf-8",
        "use_numpy": False, "opentelemetry_traceparent": None, "input_format_null_as_default": False,
        "namedtuple_as_json": False}
    )  # fmt: skip


class _Bytes:
    """Bytes in memory, as a socket that the driver's buffers read and write."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)
        self.recv_into = self.buffer.readinto
        self.sendall = self.buffer.write


def _read(stream: BlockInputStream) -> Any:
    """A block that can be written again: writing works on lists."""
    block = stream.read()
    block.data = [list(column) for column in block.data]
    return block


class Engine:
    """ClickHouse's engine over a folder; one at a time, as chdb wants it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._session = Session(str(folder / "data"))
        self._lock = threading.Lock()

    @property
    def deaf(self) -> bool:
        return (self._folder / "deaf").exists()

    def ask(self, database: str, sql: str, form: str = "Native") -> bytes:
        with self._lock:
            self._session.query(f"USE `{database}`")
            return bytes(self._session.query(sql, form).bytes())

    def sample(self, database: str, table: str, columns: str) -> list[tuple[str, str]]:
        """(name, type) of the columns that are to be inserted."""
        text = self.ask(database, f"SELECT {columns} FROM {table} LIMIT 0", "TSVWithNamesAndTypes").decode()
        names, types = (line.replace("\\'", "'").split("\t") for line in text.splitlines()[:2])
        return list(zip(names, types, strict=True))

    def insert(self, database: str, table: str, columns: str, block: Any) -> None:
        native = _Bytes()
        out = BufferedSocketWriter(native, 1 << 16)
        BlockOutputStream(out, _context(0)).write(block)
        out.flush()
        file = self._folder / f"insert-{threading.get_ident()}.native"
        file.write_bytes(native.buffer.getvalue())
        self.ask(database, f"INSERT INTO {table} ({columns}) FROM INFILE '{file}' FORMAT Native", "Null")
        file.unlink()


class Connection(socketserver.BaseRequestHandler):
    engine: Engine

    def handle(self) -> None:
        self.fin = BufferedSocketReader(self.request, 1 << 16)
        self.fout = BufferedSocketWriter(self.request, 1 << 16)
        self.context = _context(REVISION)
        try:
            self._hello()
            while True:
                packet = read_varint(self.fin)
                if packet == Client.PING:
                    write_varint(Server.PONG, self.fout)
                    self.fout.flush()
                elif packet == Client.QUERY:
                    self._query()
        except (EOFError, ConnectionError, TimeoutError):
            return

    def _hello(self) -> None:
        assert read_varint(self.fin) == Client.HELLO
        read_binary_str(self.fin)
        for _ in range(3):
            read_varint(self.fin)
        self.database, _user, _password = (read_binary_str(self.fin) for _ in range(3))
        self.database = self.database or "default"
        write_varint(Server.HELLO, self.fout)
        write_binary_str("ClickHouse", self.fout)
        for number in (26, 5, REVISION):
            write_varint(number, self.fout)
        write_binary_str("UTC", self.fout)
        write_binary_str("chdb", self.fout)
        write_varint(1, self.fout)
        self.fout.flush()

    def _query(self) -> None:
        sql = self._read_query()
        while self._block().num_columns:  # external tables; then an empty block
            pass
        try:
            insert = _INSERT.match(sql.strip())
            if insert is not None:
                self._insert(insert.group(1), insert.group(2))
            else:
                self._select(sql)
        except RuntimeError as error:
            self._complain(str(error))

    def _read_query(self) -> str:
        read_binary_str(self.fin)
        assert read_binary_uint8(self.fin)  # the client's info
        for _ in range(3):
            read_binary_str(self.fin)
        read_binary_uint8(self.fin)
        for _ in range(3):
            read_binary_str(self.fin)
        for _ in range(3):
            read_varint(self.fin)
        read_binary_str(self.fin)
        read_varint(self.fin)
        while read_binary_str(self.fin):  # settings
            read_binary_uint8(self.fin)
            read_binary_str(self.fin)
        read_varint(self.fin)
        assert read_varint(self.fin) == 0, "compression is not spoken here"
        return str(read_binary_str(self.fin))

    def _block(self) -> Any:
        assert read_varint(self.fin) == Client.DATA
        read_binary_str(self.fin)
        return _read(BlockInputStream(self.fin, self.context))

    def _insert(self, table: str, columns: str) -> None:
        sample = self.engine.sample(self.database, table, columns)
        self._send(ColumnOrientedBlock(sample, [[] for _ in sample]), rows=False)
        while (block := self._block()).num_columns:
            self.engine.insert(self.database, table, columns, block)
        if self.engine.deaf:
            self.request.shutdown(socket.SHUT_RDWR)
            raise ConnectionError
        self._end()

    def _select(self, sql: str) -> None:
        native = BufferedSocketReader(_Bytes(self.engine.ask(self.database, sql)), 1 << 16)
        stream = BlockInputStream(native, _context(0))
        try:
            while True:
                self._send(_read(stream))
        except EOFError:  # no block more
            pass
        self._end()

    def _send(self, block: Any, rows: bool = True) -> None:
        write_varint(Server.DATA, self.fout)
        write_binary_str("", self.fout)
        if rows:
            BlockOutputStream(self.fout, self.context).write(block)
            return
        BlockInfo().write(self.fout)
        write_varint(len(block.columns_with_types), self.fout)
        write_varint(0, self.fout)
        for name, kind in block.columns_with_types:
            write_binary_str(name, self.fout)
            write_binary_str(kind, self.fout)
        self.fout.flush()

    def _end(self) -> None:
        write_varint(Server.END_OF_STREAM, self.fout)
        self.fout.flush()

    def _complain(self, message: str) -> None:
        code = re.search(r"Code: (\d+)", message)
        write_varint(Server.EXCEPTION, self.fout)
        write_binary_int32(int(code.group(1)) if code else 1000, self.fout)
        for text in ("DB::Exception", message, ""):
            write_binary_str(text, self.fout)
        write_binary_uint8(0, self.fout)
        self.fout.flush()


class _TCPServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main(folder: Path, port: int) -> None:
    Connection.engine = Engine(folder)
    with _TCPServer(("127.0.0.1", port), Connection) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
