"""History: ticks, bars, equity, positions, orders and fills, in ClickHouse or, where none is given, SQLite (SPEC M7).

It listens to the log and depends on everybody; nobody depends on it: while it is away nodes and engine go on.
"""
