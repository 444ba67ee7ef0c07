"""Keeps processes running: starts them, restarts what dies, stops them in order, and leaves none behind."""
