"""The site's addresses."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from ginkgo_site.api.health import Metrics

admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/", include("ginkgo_site.api.urls")),
    path("metrics", Metrics.as_view(), name="metrics"),
]
handler400 = "ginkgo_site.api.root.bad_request"
handler404 = "ginkgo_site.api.root.not_found"
handler500 = "ginkgo_site.api.root.server_error"
