"""Every route under /api/."""

from __future__ import annotations

from django.urls import include, path, re_path

from ginkgo_site.api import alerts, description, health, root, tokens

urlpatterns = [
    path("", root.Root.as_view(), name="api-root"),
    path("token/", tokens.Token.as_view(), name="api-token"),
    path("token/refresh/", tokens.Refresh.as_view(), name="api-token-refresh"),
    path("schema/", description.Schema.as_view(), name="api-schema"),
    path("docs/", description.Docs.as_view(), name="api-docs"),
    path("alerts", alerts.Alerts.as_view(), name="api-alerts"),
    path("health", health.Health.as_view(), name="api-health"),
    path("", include("alerts.api.urls")),
    path("", include("portfolios.api.urls")),
    path("", include("market.api.urls")),
    path("", include("scheduler.api.urls")),
    re_path(r"^.*$", root.Nothing.as_view(), name="api-nothing"),
]
