"""The admin's pages of alerting: the alerts themselves, who is told of them, by which way, and what became of that."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminPasswordWidget

from alerts import channels, digest
from alerts.admin_alerts import AlertAdmin
from alerts.delivery import send_test
from alerts.errors import BadAddress
from alerts.models import Channel, Notification, Rule
from alerts.models.notification import Outcome
from portfolios.admin_base import ModelForm, ReadOnlyAdmin, link, listing, pretty

__all__ = ["AlertAdmin", "ChannelAdmin", "NotificationAdmin", "RuleAdmin"]

OUTCOME_COLOURS = {
    str(Outcome.SENT.label): "success",
    str(Outcome.FAILED.label): "danger",
    str(Outcome.RETRYING.label): "warning",
    str(Outcome.SENDING.label): "info",
}


class OwnAdmin(ModelAdmin):
    """Everybody's own: who is no superuser sees and makes nothing in another's name."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request).select_related("user")
        return found if request.user.is_superuser else found.filter(user_id=request.user.pk or 0)

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [] if request.user.is_superuser else ["user"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().get_changeform_initial_data(request), "user": request.user.pk}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        # Set before it is checked, so that its uniqueness is checked by its real owner.
        form.default_owner = obj.user if obj is not None else request.user
        return form


class _OwnedForm(ModelForm):
    default_owner: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.user_id is None:
            self.instance.user = self.default_owner

    def owner(self) -> User:
        chosen: User = self.cleaned_data.get("user") or self.default_owner
        return chosen

    def validate_constraints(self) -> None:
        """Also where the form does not show whose it is: no two of one owner's have one name."""
        try:
            self.instance.validate_constraints()
        except ValidationError as error:
            self.add_error(None, error)


class ChannelForm(_OwnedForm):
    """The address goes in and never comes out again."""

    url = forms.CharField(
        label="Address",
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text="An Apprise URL, like mailtos://user:password@example.com?to=me@example.com, jsons://host/path, "
        "slack://…, wecombot://…; see https://github.com/caronc/apprise/wiki. It is stored encrypted and shown to "
        "nobody; leave it empty to keep the present one.",
    )

    class Meta:
        model = Channel
        fields = ("user", "name", "enabled")

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        if not url:
            if not self.instance.secret:
                raise ValidationError("A channel needs an address.")
            return url
        try:
            self.instance.secret, self.instance.shown = channels.seal(url)
        except BadAddress as error:
            raise ValidationError(str(error)) from None
        return url


class RuleForm(_OwnedForm):
    class Meta:
        model = Rule
        fields = "__all__"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        owner = self.owner()
        if strangers := [str(way.name) for way in cleaned.get("channels", ()) if way.user_id != owner.pk]:
            self.add_error("channels", f"Not {owner}'s: {', '.join(strangers)}.")
        if not owner.is_staff:
            strangers = [p.name for p in cleaned.get("portfolios", ()) if p.owner_id != owner.pk]
            if strangers:
                self.add_error("portfolios", f"Not {owner}'s: {', '.join(strangers)}.")
        return cleaned


@admin.register(Channel)
class ChannelAdmin(OwnAdmin):
    form = ChannelForm
    list_display = ("name", "user", "shown", "enabled", "told")
    list_filter = ("enabled", "user")
    search_fields = ("name", "user__username")
    fields = ("user", "name", "present", "url", "enabled", "told")
    readonly_fields = ("present", "told")
    actions = ("test_selected",)
    actions_submit_line = ("test",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        hidden = set() if request.user.is_superuser else {"user"}
        hidden |= set() if obj is not None else {"present", "told"}
        return [name for name in self.fields if name not in hidden]

    @display(description="Present address")
    def present(self, channel: Channel) -> str:
        return channel.shown

    @display(description="Its")
    def told(self, channel: Channel) -> SafeString:
        return listing("alerts.notification", "notifications", channel__id__exact=channel.pk)

    @action(description="Save and send a test", permissions=["change"])
    def test(self, request: HttpRequest, obj: Channel) -> None:
        # Not in the transaction that saves it: a slow server would hold up every other writer.
        transaction.on_commit(lambda: _test(request, obj))

    @action(description="Send a test message", permissions=["change"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[Channel]) -> None:
        for channel in queryset:
            _test(request, channel)


@admin.register(Rule)
class RuleAdmin(OwnAdmin):
    form = RuleForm
    list_display = ("name", "user", "enabled", "severity", "types", "sources", "ways", "told")
    list_filter = ("enabled", "severity", "user")
    search_fields = ("name", "user__username", "types", "sources")
    autocomplete_fields = ("portfolios",)
    filter_horizontal = ("channels",)
    readonly_fields = ("told",)
    fieldsets = (
        (None, {"fields": ("user", ("name", "enabled"), "told")}),
        ("Which alerts", {"fields": ("severity", "types", "sources", "portfolios")}),
        ("To whom, how often", {"fields": ("channels", "min_interval")}),
        ("Quiet hours", {"fields": (("quiet_from", "quiet_until"), "time_zone", "critical_passes")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rule]:
        return super().get_queryset(request).prefetch_related("channels")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if request.user.is_superuser:
            return self.fieldsets
        (title, first), *others = self.fieldsets
        return ((title, {"fields": first["fields"][1:]}), *others)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "channels" and not request.user.is_superuser:
            kwargs["queryset"] = Channel.objects.filter(user_id=request.user.pk or 0)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @display(description="Channels")
    def ways(self, rule: Rule) -> str:
        return ", ".join(channel.name for channel in rule.channels.all()) or "none"

    @display(description="Its")
    def told(self, rule: Rule) -> SafeString | str:
        return "-" if rule.pk is None else listing("alerts.notification", "notifications", rule__id__exact=rule.pk)


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "what", "of_rule", "by", "alert_count", "state", "attempts", "next_attempt_at", "why")
    list_filter = ("outcome", "severity", "is_test", ("rule", admin.RelatedOnlyFieldListFilter))
    search_fields = ("rule_name", "channel_name", "reason", "user__username")
    date_hierarchy = "created_at"
    fields = (
        ("user", "of_rule", "by"),
        ("state", "reason"),
        ("attempts", "next_attempt_at", "sent_at", "created_at"),
        ("severity", "alert_count", "is_test", "held"),
        "text",
    )
    readonly_fields = ("what", "of_rule", "by", "state", "why", "text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notification]:
        found: QuerySet[Notification] = super().get_queryset(request).select_related("user")
        return found if request.user.is_superuser else found.filter(user_id=request.user.pk or 0)

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return lookup == "channel__id__exact" or bool(super().lookup_allowed(lookup, value, request))

    @display(description="What", ordering="severity")
    def what(self, notification: Notification) -> str:
        return "test" if notification.is_test else digest.title(notification.kinds)

    @display(description="Rule", ordering="rule_name")
    def of_rule(self, notification: Notification) -> SafeString | str:
        return link("alerts.rule", notification.rule_id, notification.rule_name) if notification.rule_id else "-"

    @display(description="Channel", ordering="channel_name")
    def by(self, notification: Notification) -> SafeString | str:
        if notification.channel_id is None:
            return notification.channel_name
        return link("alerts.channel", notification.channel_id, notification.channel_name)

    @display(description="Outcome", ordering="outcome", label=OUTCOME_COLOURS)
    def state(self, notification: Notification) -> str:
        return str(Outcome(notification.outcome).label)

    @display(description="Reason", ordering="reason")
    def why(self, notification: Notification) -> str:
        return notification.reason or "-"

    @display(description="Text")
    def text(self, notification: Notification) -> SafeString:
        return pretty("a test" if notification.is_test else digest.body(notification.kinds))


def _test(request: HttpRequest, channel: Channel) -> None:
    done = send_test(channel)
    if done.sent_at is not None:
        messages.success(request, f"A test was sent by {channel.name} ({channel.shown}).")
    else:
        messages.error(request, f"The test by {channel.name} ({channel.shown}) was not sent: {done.reason}")
