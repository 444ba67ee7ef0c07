"""The Celery application: the scheduler's beat and tasks, and each node's command queue."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")

app = Celery("ginkgo")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["scheduler", "nodes"])
# By its name, for it is of use to workers alone; it joins those that consume the scheduler's queue.
app.steps["worker"].add("scheduler.bootstep:SchedulerStep")
