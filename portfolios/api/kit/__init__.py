"""What every route shares: shapes, errors, who is asking, how often, twice or not, and what the audit keeps of it."""
