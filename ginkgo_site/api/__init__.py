"""What of the REST API belongs to no app: its root, who gets a token, its description, health, metrics."""
