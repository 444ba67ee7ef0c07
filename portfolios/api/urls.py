"""The portfolios' routes, under /api/."""

from __future__ import annotations

from django.urls import path

from portfolios.api import adjustments, books, catalogue, portfolios, wishes

urlpatterns = [
    path("components", catalogue.Components.as_view(), name="api-components"),
    path("portfolio", portfolios.Portfolios.as_view(), name="api-portfolios"),
    path("portfolio/import", books.Import.as_view(), name="api-portfolio-import"),
    path("portfolio/<str:portfolio_id>", portfolios.OnePortfolio.as_view(), name="api-portfolio"),
    path("portfolio/<str:portfolio_id>/status", books.Status.as_view(), name="api-portfolio-status"),
    path("portfolio/<str:portfolio_id>/positions", books.Positions.as_view(), name="api-portfolio-positions"),
    path("portfolio/<str:portfolio_id>/revisions", books.Revisions.as_view(), name="api-portfolio-revisions"),
    path("portfolio/<str:portfolio_id>/export", books.Export.as_view(), name="api-portfolio-export"),
    path("portfolio/<str:portfolio_id>/deposit", adjustments.Deposit.as_view(), name="api-portfolio-deposit"),
    path("portfolio/<str:portfolio_id>/withdraw", adjustments.Withdraw.as_view(), name="api-portfolio-withdraw"),
    path("portfolio/<str:portfolio_id>/correct", adjustments.Correct.as_view(), name="api-portfolio-correct"),
    path("portfolio/<str:portfolio_id>/adjustments", adjustments.Adjustments.as_view(), name="api-adjustments"),
    path("portfolio/<str:portfolio_id>/start", wishes.Start.as_view(), name="api-portfolio-start"),
    path("portfolio/<str:portfolio_id>/stop", wishes.Stop.as_view(), name="api-portfolio-stop"),
    path("portfolio/<str:portfolio_id>/reload", wishes.Reload.as_view(), name="api-portfolio-reload"),
    path("portfolio/<str:portfolio_id>/rollback", wishes.Rollback.as_view(), name="api-portfolio-rollback"),
]
