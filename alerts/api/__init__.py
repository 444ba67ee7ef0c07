"""The REST API of who is told of alerts: channels, rules, notifications. Everybody's own, also of staff."""
