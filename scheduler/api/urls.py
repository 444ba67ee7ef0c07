"""The scheduler's routes, under /api/."""

from __future__ import annotations

from django.urls import path

from scheduler.api import commands, nodes, plan

urlpatterns = [
    path("scheduler/status", plan.Status.as_view(), name="api-scheduler-status"),
    path("schedule/plan", plan.CurrentPlan.as_view(), name="api-schedule-plan"),
    path("schedule/history", plan.History.as_view(), name="api-schedule-history"),
    path("schedule/migrate", plan.Migrate.as_view(), name="api-schedule-migrate"),
    path("schedule/rebalance", plan.Rebalance.as_view(), name="api-schedule-rebalance"),
    path("nodes", nodes.Nodes.as_view(), name="api-nodes"),
    path("nodes/<str:node_id>", nodes.OneNode.as_view(), name="api-node"),
    path("nodes/<str:node_id>/disable", nodes.Disable.as_view(), name="api-node-disable"),
    path("nodes/<str:node_id>/enable", nodes.Enable.as_view(), name="api-node-enable"),
    path("commands", commands.Commands.as_view(), name="api-commands"),
    path("commands/<str:command_id>", commands.OneCommand.as_view(), name="api-command"),
]
