"""The components of one portfolio: made from its configuration, told what they listen to, carried over a reload."""

from __future__ import annotations

from typing import Any

import msgspec

from portfolios.kernel import state as saved
from portfolios.kernel.component import NEVER, RiskRule, Sizer, Strategy, View
from portfolios.kernel.config import ComponentConfig, PortfolioConfig
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.ledger import Position
from portfolios.kernel.registry import find
from portfolios.kernel.watch import Watch


class Team:
    """A strategy, risk rules and a sizer. Only those who listen are called: a hook that a component leaves alone costs
    nothing."""

    __slots__ = (
        "_config", "exit_rules", "reviewers", "risks", "session_hooks", "sizer", "sizer_hears", "strategy",
        "value_rules",
    )  # fmt: skip

    def __init__(self, config: PortfolioConfig, view: View) -> None:
        self._config = config
        self.strategy: Strategy = _make(config.strategy, "strategy")
        self.strategy.view = view
        self.sizer: Sizer = _make(config.sizer, "sizer")
        self.risks: list[RiskRule] = [_make(risk, "risk") for risk in config.risk_managements]
        self.exit_rules = [risk for risk in self.risks if _overrides(risk, RiskRule, "on_price")]
        self.value_rules = [risk for risk in self.risks if _overrides(risk, RiskRule, "on_value")]
        self.reviewers = [risk for risk in self.risks if _overrides(risk, RiskRule, "review")]
        self.sizer_hears = _overrides(self.sizer, Sizer, "on_price")
        self.session_hooks = _overrides(self.strategy, Strategy, "on_session") or _overrides(
            self.sizer, Sizer, "on_session"
        )

    @property
    def warmup_bars(self) -> int:
        return max(self.strategy.warmup_bars, self.sizer.warmup_bars)

    def start(self, watch: Watch) -> None:
        """Fresh memories of a code, which know nothing of its past."""
        watch.memory, watch.sizer_memory = self.strategy.start(), self.sizer.start()
        watch.cold, watch.sizer_cold = self.strategy.Memory is not None, self.sizer.Memory is not None

    def open_session(self, watch: Watch, tick: PriceUpdate) -> None:
        if watch.traded:
            self.strategy.on_session(watch.memory, tick)
            self.sizer.on_session(watch.sizer_memory, tick)

    def warm_up(self, watch: Watch, bar: PriceUpdate, *, begins: bool) -> None:
        """A price of the past, told to those who remember nothing of its code; `begins`: the first of its session."""
        if watch.sizer_cold:
            if begins:
                self.sizer.on_session(watch.sizer_memory, bar)
            self.sizer.on_price(watch.sizer_memory, bar)
        if watch.cold:
            if begins:
                self.strategy.on_session(watch.memory, bar)
            self.strategy.on_price(watch.memory, bar)

    def bounds(self, position: Position) -> tuple[int, int]:
        """(low, high) in units: at prices between them no risk rule has anything to say about a position."""
        low, high = 0, NEVER
        for rule in self.exit_rules:
            bounds = rule.bounds(position)
            if bounds is None:
                return NEVER, NEVER
            low, high = max(low, bounds[0]), min(high, bounds[1])
        return low, high

    def on_stop(self) -> None:
        for component in (self.strategy, *self.risks, self.sizer):
            component.on_stop()

    # Snapshots -----------------------------------------------------------------------------------------------------

    def states(self) -> dict[str, Any]:
        """What a snapshot keeps of it: the fields of `state.Components`."""
        config = self._config
        return {
            "strategy": (config.strategy.name, config.strategy.params, self.strategy.state),
            "sizer": (config.sizer.name, config.sizer.params, self.sizer.state),
            "risks": [
                (risk.name, risk.params, made.state)
                for risk, made in zip(config.risk_managements, self.risks, strict=True)
            ],
            "bar": config.policy.bar,
        }

    def resume(self, was: saved.Components) -> tuple[bool, bool]:
        """Takes the states over; whether strategy and sizer are the same as then, so that their memories fit."""
        config = self._config
        same_bar = was.bar == config.policy.bar
        same_strategy = same_bar and _carry_over(self.strategy, config.strategy, [was.strategy])
        same_sizer = same_bar and _carry_over(self.sizer, config.sizer, [was.sizer])
        for risk, made in zip(config.risk_managements, self.risks, strict=True):
            _carry_over(made, risk, was.risks)
        return same_strategy, same_sizer

    def resume_memories(self, watch: Watch, row: saved.WatchState, *, strategy: bool, sizer: bool) -> None:
        """Memories of a code as they were, of those that are the same."""
        if strategy:
            watch.memory = _memory(self.strategy, row.memory)
            watch.cold = False
        if sizer:
            watch.sizer_memory = _memory(self.sizer, row.sizer_memory)
            watch.sizer_cold = False


def _make(config: ComponentConfig, kind: str) -> Any:
    return find(config.name, kind)(config.params)


def _overrides(component: object, base: type, method: str) -> bool:
    return getattr(type(component), method) is not getattr(base, method)


def _carry_over(component: Any, config: ComponentConfig, states: list[saved.ComponentState]) -> bool:
    """Gives a component the state that one of the same name and parameters had, if there was one; takes that away."""
    params = saved.encode(config.params)
    for number, was in enumerate(states):
        if was.name == config.name and bytes(was.params) == params:
            if component.State is not None and bytes(was.state) != b"null":
                component.state = msgspec.json.decode(was.state, type=component.State)
            del states[number]
            return True
    return False


def _memory(component: Strategy | Sizer, row: msgspec.Raw) -> Any:
    return None if component.Memory is None else msgspec.json.decode(row, type=component.Memory)
