"""The market's routes, under /api/."""

from __future__ import annotations

from django.urls import path

from market.api import engine, history, orders, reconciliation

urlpatterns = [
    path("engine/live/status", engine.Status.as_view(), name="api-engine-status"),
    path("engine/live/start", engine.Start.as_view(), name="api-engine-start"),
    path("engine/live/stop", engine.Stop.as_view(), name="api-engine-stop"),
    path("reconciliation", reconciliation.Reconciliation.as_view(), name="api-reconciliation"),
    path("portfolio/<str:portfolio_id>/orders", orders.Orders.as_view(), name="api-portfolio-orders"),
    path("portfolio/<str:portfolio_id>/fills", orders.Fills.as_view(), name="api-portfolio-fills"),
    path("portfolio/<str:portfolio_id>/history", history.History.as_view(), name="api-portfolio-history"),
]
