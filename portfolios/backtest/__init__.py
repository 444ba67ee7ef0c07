"""A portfolio over history: the kernel and the simulated exchange in one loop, without servers (SPEC P8)."""
