"""The tables of notification: who wants to hear of what, by which way, and what became of each message."""

from alerts.models.alert import Alert
from alerts.models.channel import Channel
from alerts.models.notification import Notification
from alerts.models.place import LogPlace
from alerts.models.rule import Rule

__all__ = ["Alert", "Channel", "LogPlace", "Notification", "Rule"]
