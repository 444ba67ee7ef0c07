"""The shapes of what the scheduler's routes take and answer."""

from __future__ import annotations

from portfolios.api.kit.paging import page_query
from portfolios.api.kit.shapes import (
    BOOLEAN,
    COUNT,
    MOMENT,
    NUMBER,
    answer,
    body,
    choices,
    described,
    many,
    maybe,
    named,
    text,
)
from portfolios.api.shapes import DESIRED, ID, STATUS
from portfolios.models.command import CommandState

NODE_ID = text("A node's id.", minLength=1, maxLength=100)
_TRUE = {"type": "boolean", "const": True}

SCHEDULER = named(
    "SchedulerStatus",
    answer(
        scheduler_status=choices(
            "SchedulerState", ["running", "stopped", "unknown"], "Unknown: Redis does not answer."
        ),
        plan_version=COUNT,
        node_count=COUNT,
        portfolio_count=described(COUNT, "That a node owns."),
        unplaced_count=COUNT,
        open_moves=COUNT,
        last_run=text(),
        last_check=text(),
        last_trigger=text(),
        believes_losses_after=text("Until then missing heartbeats are not believed; empty: they are."),
        schedule_interval=described(NUMBER, "Seconds."),
        heartbeat_check_interval=described(NUMBER, "Seconds."),
        host=text(),
        pid=maybe(COUNT),
    ),
)
MOVE = named(
    "Move",
    answer(portfolio_id=ID, source=text("Empty: nobody."), target=text("Empty: nobody."), kind=text(), reason=text()),
)
PLACEMENT = named(
    "Placement",
    answer(
        portfolio_id=ID,
        name=text(),
        desired_state=DESIRED,
        status=STATUS,
        node_id=text("Empty: none."),
        epoch=COUNT,
        moving_to=text("Where a planned move takes it; empty: it stays."),
        reason=text("Why it is there, or why it is nowhere."),
    ),
)
_UNPLACED = {"type": "object", "additionalProperties": {"type": "string"}, "description": "portfolio_id: why."}
PLAN = named(
    "SchedulePlan",
    answer(
        version=COUNT,
        created_at=maybe(MOMENT),
        trigger=text(),
        count=described(COUNT, "Portfolios in all."),
        next=maybe(text(format="uri")),
        previous=maybe(text(format="uri")),
        portfolios=many(PLACEMENT),
        moves=many(MOVE),
        unplaced=_UNPLACED,
    ),
)
PLAN_QUERY = page_query(
    ["name", "node_id", "epoch"], limit=1000, node_id=text("On this node.", maxLength=100), portfolio_id=ID
)
PLAN_VERSION = named(
    "PlanVersion",
    answer(
        version=COUNT,
        created_at=MOMENT,
        trigger=text(),
        node_count=COUNT,
        portfolio_count=COUNT,
        moves=many(MOVE),
        unplaced=_UNPLACED,
    ),
)
MIGRATE = named(
    "Migration", body(["portfolio_id", "target_node"], portfolio_id=ID, source_node=NODE_ID, target_node=NODE_ID)
)
MIGRATING = named(
    "MigrationAccepted",
    answer(
        success=_TRUE,
        portfolio_id=ID,
        status={"type": "string", "const": "migrating"},
        source_node=text("Empty: nobody's."),
        target_node=NODE_ID,
        estimated_time=described(NUMBER, "Seconds, at most."),
    ),
)
ACCEPTED = named("Accepted", answer(success=_TRUE, message=text()))
NODE = named(
    "Node",
    answer(
        node_id=NODE_ID,
        state=text("The node's own word while its heart beats: running, draining, unhealthy, fenced …; else offline."),
        enabled=described(BOOLEAN, "No: drained, it gets nothing."),
        portfolios=described(COUNT, "That it says it runs."),
        assigned_count=COUNT,
        max_portfolios=COUNT,
        queue_size=described(NUMBER, "Events, the mean over its portfolios."),
        cpu_usage=described(NUMBER, "% of one core."),
        memory_usage=described(NUMBER, "MB."),
        total_events=COUNT,
        lag_messages=described(COUNT, "Not yet worked off, of all partitions that it reads."),
        lag_seconds=described(NUMBER, "Of the partition that is furthest behind."),
        lag=many(answer(topic=text(), partition=COUNT, messages=COUNT, seconds=NUMBER)),
        last_heartbeat=text("Empty: none."),
        heartbeat_age=maybe(described(NUMBER, "Seconds.")),
        labels={"type": "object", "additionalProperties": True},
        host=text(),
        pid=maybe(COUNT),
        instance=text(),
        version=text(),
        offline_since=maybe(MOMENT),
    ),
)
NODE_DETAIL = named(
    "NodeDetail",
    {
        "allOf": [
            NODE,
            answer(assigned=many(answer(portfolio_id=ID, name=text(), epoch=COUNT))),
        ]
    },
)
NODE_QUERY = page_query(
    ["node_id", "last_seen"],
    state=choices("NodeState", ["online", "offline"], "As the scheduler saw it last."),
    enabled=BOOLEAN,
)
NODE_CHANGED = named("NodeChanged", answer(success=_TRUE, node_id=NODE_ID, enabled=BOOLEAN, message=text()))
COMMAND_STATE = choices("CommandState", CommandState.values)
COMMAND = named(
    "Command",
    answer(
        command_id=text(),
        command_type=text("Like portfolio.start."),
        target_id=text("A portfolio's id, a node's id, or the engine's."),
        node_id=text("The node it was sent to; empty: none."),
        epoch=maybe(COUNT),
        state=COMMAND_STATE,
        issued_by=text(),
        door=text("celery, kafka, or direct: carried out where it was asked."),
        result=text(),
        created_at=MOMENT,
        started_at=maybe(MOMENT),
        finished_at=maybe(MOMENT),
    ),
)
COMMAND_QUERY = page_query(
    ["-created_at", "finished_at", "command_type", "state"],
    state=COMMAND_STATE,
    command_type=text(maxLength=40),
    target_id=text(maxLength=100),
    node_id=text(maxLength=100),
)
