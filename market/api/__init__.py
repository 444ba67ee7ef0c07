"""The market's part of the REST API: the engine's switch, orders, fills, and what portfolios were worth."""
