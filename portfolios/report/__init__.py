"""What a backtest's result says: its measures, as a table, as JSON and as a page."""
