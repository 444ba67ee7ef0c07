"""The Django app."""

from django.apps import AppConfig


class SchedulerConfig(AppConfig):
    name = "scheduler"

    def ready(self) -> None:
        from portfolios.signals import adjustment_asked, config_changed, desired_state_changed
        from scheduler.requests import on_adjustment_asked, on_config_changed, on_desired_state_changed

        desired_state_changed.connect(on_desired_state_changed, dispatch_uid="scheduler.tick")
        config_changed.connect(on_config_changed, dispatch_uid="scheduler.reload")
        adjustment_asked.connect(on_adjustment_asked, dispatch_uid="scheduler.adjust")
