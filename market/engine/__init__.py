"""The order engine: every order enters its books once, reaches the broker once, and every answer is told (SPEC M2).

A reader follows one order through `intake` (one transaction: whose is it, is it new, may it trade), `desk` (to the
broker), `recording` (what the broker says, into the books) and `market.outbox` (to Kafka).
"""
