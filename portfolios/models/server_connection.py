"""Which process holds which connection to MySQL, so that one frozen inside a transaction can be cut off (SPEC N6)."""

from __future__ import annotations

from django.db import models


class ServerConnection(models.Model):
    """One row a connection while it lasts.

    `address` is the client's, as the server sees it: by it a number that was given again is told.
    """

    connection_id = models.BigIntegerField(primary_key=True)
    process = models.CharField(max_length=100, db_index=True, help_text="A node's id.")
    instance = models.CharField(max_length=64, help_text="Which process under that id.")
    address = models.CharField(max_length=100)
    opened_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.connection_id} of {self.process}"
