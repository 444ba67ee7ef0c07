"""Django's MySQL backend, but that the server ends a transaction whose client says nothing: see `base`."""
