"""The embedded servers: one file a server, how each is started, where it listens, and when it is ready."""
