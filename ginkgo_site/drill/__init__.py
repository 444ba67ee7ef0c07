"""Failures on purpose, on real processes, judged by an oracle that reads the log and the books (SPEC section 11)."""
