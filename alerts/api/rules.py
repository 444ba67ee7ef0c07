"""/api/alerts/rules: of which alerts the caller wants to hear, by which channels, how often, and when not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import time
from typing import Any

from django.db.models import CharField, Value
from django.db.models.functions import Cast
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from timezone_field import TimeZoneField

from alerts import rules
from alerts.api import shapes
from alerts.api.own import missing, unique
from alerts.models import Channel, Rule
from portfolios.api.kit import audit, paging
from portfolios.api.kit.rights import visible
from portfolios.api.kit.route import ApiView, route
from portfolios.api_keys import TRADE
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault

TAG = "alerts"
_PLAIN = ("name", "enabled", "severity", "min_interval", "critical_passes")
_LONGEST = 500
_ZONES = frozenset(str(zone) for zone, _ in TimeZoneField().choices)


class Rules(ApiView):
    @route(
        "alert_rule_list",
        "The caller's rules",
        tag=TAG,
        query=paging.page_query(["name", "created_at"]),
        answer=paging.page_of(shapes.RULE),
    )
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """By name."""
        found, count = paging.rows(Rule.objects.filter(user=request.user), query)
        linked = _links(found)
        return Response(paging.document(request, query, count, found, lambda rule: _document(rule, linked)))

    @route(
        "alert_rule_create", "A new rule", tag=TAG, scope=TRADE, writes=True, status=201,
        body=shapes.NEW_RULE, answer=shapes.RULE,
        example={"name": "at night", "severity": "critical", "channels": [1], "min_interval": 300},
    )  # fmt: skip
    def post(self, request: Request, body: Mapping[str, Any]) -> Response:
        """Of alerts from now on."""
        made = Rule(user=request.user)
        changes = _set(request, made, body)
        audit.record(request, "alert_rule.create", str(made.pk), changes)
        url = reverse("api-alert-rule", args=[made.pk], request=request)
        return Response(_document(made, _links([made])), status=201, headers={"Location": url})


class OneRule(ApiView):
    @route("alert_rule", "One rule", tag=TAG, answer=shapes.RULE)
    def get(self, request: Request, rule_id: int) -> Response:
        """With its channels' and portfolios' ids."""
        found = _mine(request, rule_id)
        return Response(_document(found, _links([found])))

    @route(
        "alert_rule_change", "Change a rule", tag=TAG, scope=TRADE, writes=True,
        body=shapes.RULE_CHANGE, answer=shapes.RULE,
        example={"quiet_from": "22:00", "quiet_until": "07:00", "time_zone": "Asia/Shanghai"},
    )  # fmt: skip
    def patch(self, request: Request, rule_id: int, body: Mapping[str, Any]) -> Response:
        """What is not given stays; a list that is given takes the place of the one there is."""
        found = _mine(request, rule_id)
        audit.record(request, "alert_rule.change", str(found.pk), _set(request, found, body))
        return Response(_document(found, _links([found])))

    @route("alert_rule_delete", "Remove a rule", tag=TAG, scope=TRADE, writes=True, status=204)
    def delete(self, request: Request, rule_id: int) -> Response:
        """Its notifications stay, with its name."""
        found = _mine(request, rule_id)
        audit.record(request, "alert_rule.delete", str(found.pk), {"name": (found.name, None)})
        found.delete()
        return Response(status=204)


_Links = Mapping[tuple[int, str], list[str]]


def _links(found: Iterable[Rule]) -> _Links:
    """The channels and the portfolios of all of them, in one query."""
    ids = [rule.pk for rule in found]
    linked: dict[tuple[int, str], list[str]] = defaultdict(list)
    if not ids:
        return linked
    tables: tuple[tuple[str, Any], ...] = (
        ("channel", Rule.channels.through),
        ("portfolio", Rule.portfolios.through),
    )
    parts = [
        through.objects.filter(rule_id__in=ids)
        .order_by()
        .annotate(kind=Value(kind), other=Cast(f"{kind}_id", CharField(max_length=50)))
        .values_list("rule_id", "kind", "other")
        for kind, through in tables
    ]
    for rule_id, kind, other in parts[0].union(parts[1], all=True):
        linked[rule_id, kind].append(other)
    return linked


def _document(rule: Rule, linked: _Links) -> dict[str, Any]:
    return {
        "id": rule.pk,
        **{name: getattr(rule, name) for name in _PLAIN},
        "types": list(rules.patterns(rule.types)),
        "sources": list(rules.patterns(rule.sources)),
        "portfolios": sorted(linked.get((rule.pk, "portfolio"), ())),
        "channels": sorted(int(each) for each in linked.get((rule.pk, "channel"), ())),
        "quiet_from": _clock(rule.quiet_from),
        "quiet_until": _clock(rule.quiet_until),
        "time_zone": str(rule.time_zone),
        "created_at": rule.created_at,
    }


def _mine(request: Request, rule_id: int) -> Rule:
    found = Rule.objects.filter(user=request.user, pk=rule_id).first()
    if found is None:
        raise missing("rule", rule_id)
    return found


def _set(request: Request, rule: Rule, body: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Save what is given; what changed. Raises InvalidConfig with every fault, Conflict."""
    before = _document(rule, _links([rule] if rule.pk else []))
    if "name" in body:
        unique(rule, body["name"])
    faults: list[Fault] = []
    for name in _PLAIN:
        setattr(rule, name, body.get(name, getattr(rule, name)))
    for name in ("types", "sources"):
        if name in body:
            setattr(rule, name, ", ".join(body[name]))
            if len(getattr(rule, name)) > _LONGEST:
                faults.append(Fault(name, f"must have at most {_LONGEST} characters in all"))
    for name in ("quiet_from", "quiet_until"):
        if name in body:
            setattr(rule, name, None if body[name] is None else time.fromisoformat(body[name]))
    if (rule.quiet_from is None) != (rule.quiet_until is None):
        faults.append(Fault("quiet_until", "quiet hours have a beginning and an end: give both, or neither"))
    if body.get("time_zone", "UTC") not in _ZONES:
        faults.append(Fault("time_zone", f"must be a time zone like Asia/Shanghai, got {body['time_zone']!r}"))
    elif "time_zone" in body:
        rule.time_zone = body["time_zone"]
    chosen = {name: body[name] for name in ("channels", "portfolios") if name in body}
    faults += _strangers(request, chosen)
    if faults:
        raise InvalidConfig(faults)
    rule.save()
    for name, keys in chosen.items():
        getattr(rule, name).set(keys)
    after = _document(rule, _links([rule]))
    return {name: (before[name], after[name]) for name in after if name != "created_at" and before[name] != after[name]}


def _strangers(request: Request, chosen: Mapping[str, list[Any]]) -> list[Fault]:
    """What the caller may not name: another's channel, a portfolio that they do not see."""
    allowed = {"channels": Channel.objects.filter(user=request.user), "portfolios": visible(request.user)}
    faults = []
    for name, keys in chosen.items():
        known = set(allowed[name].filter(pk__in=keys).values_list("pk", flat=True))
        if strangers := [str(key) for key in keys if key not in known]:
            faults.append(Fault(name, f"there is none of yours like {', '.join(strangers)[:100]}"))
    return faults


def _clock(at: time | None) -> str | None:
    return None if at is None else at.strftime("%H:%M")
