"""What makes a new installation usable: tables, topics, the first administrator, sample portfolios."""
