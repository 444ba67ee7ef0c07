"""The truth about portfolios, in MySQL: what they are, who owns them, what they know, what was asked of them."""

from portfolios.models.account import Account
from portfolios.models.adjustment import Adjustment
from portfolios.models.api_key import ApiKey
from portfolios.models.assignment import Assignment
from portfolios.models.audit_entry import AuditEntry
from portfolios.models.checkpoint import Checkpoint
from portfolios.models.command import Command
from portfolios.models.idempotency_record import IdempotencyRecord
from portfolios.models.ledger_entry import LedgerEntry
from portfolios.models.portfolio import Portfolio
from portfolios.models.revision import Revision
from portfolios.models.server_connection import ServerConnection

__all__ = [
    "Account",
    "Adjustment",
    "ApiKey",
    "Assignment",
    "AuditEntry",
    "Checkpoint",
    "Command",
    "IdempotencyRecord",
    "LedgerEntry",
    "Portfolio",
    "Revision",
    "ServerConnection",
]
