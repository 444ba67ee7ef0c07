"""The Django app."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "ginkgo_site"
