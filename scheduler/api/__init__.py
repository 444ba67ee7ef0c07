"""The scheduler's part of the REST API: the plan, moves, nodes, and the commands with their fate."""
