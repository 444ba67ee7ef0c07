"""Ginkgo Live's site: it wires the apps together. The Celery app is made here so that `@shared_task` finds it."""

from ginkgo_site.celery import app as celery_app

__all__ = ("celery_app",)
