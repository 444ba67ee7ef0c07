"""What each command's `--help` shows below its options: how it is used."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "up": (
        "ginkgo up",
        "ginkgo up --nodes 3 --feed simulation",
        "ginkgo up --detach",
    ),
    "demo": ("ginkgo demo",),
    "down": ("ginkgo down",),
    "status": ("ginkgo status", "ginkgo status --json"),
    "top": ("ginkgo top", "ginkgo top --every 0.5"),
    "portfolio create": (
        'ginkgo portfolio create --name "My trend" --market cn --initial-cash 1000000 \\\n'
        "    --strategy TrendFollowStrategy --param short_period=5 --param long_period=20 \\\n"
        "    --risk LossLimitRisk:loss_limit=10 --sizer FixedAmountSizer:amount=100000 \\\n"
        "    --codes 600519.SH,000001.SZ --start",
        "ginkgo portfolio create --name Copy --initial-cash 500000 --config portfolio.json",
    ),
    "portfolio list": ("ginkgo portfolio list",),
    "portfolio show": ('ginkgo portfolio show "My trend" --decisions 20',),
    "portfolio status": ('ginkgo portfolio status "My trend" --json',),
    "portfolio positions": ('ginkgo portfolio positions "My trend"',),
    "portfolio start": (
        'ginkgo portfolio start "My trend"',
        "ginkgo portfolio start 3f2a --yes    # real money, unasked",
    ),
    "portfolio stop": ('ginkgo portfolio stop "My trend"', "ginkgo portfolio stop 3f2a --yes    # real money, unasked"),
    "portfolio reload": ('ginkgo portfolio reload "My trend"',),
    "portfolio update": (
        'ginkgo portfolio update "My trend" --param short_period=8',
        'ginkgo portfolio update "My trend" --config portfolio.json --expected-version 3',
    ),
    "portfolio rollback": ('ginkgo portfolio rollback "My trend" 2',),
    "portfolio revisions": ('ginkgo portfolio revisions "My trend"',),
    "portfolio diff": ('ginkgo portfolio diff "My trend"', 'ginkgo portfolio diff "My trend" 2 5'),
    "portfolio export": ('ginkgo portfolio export "My trend" --output trend.json --with-state',),
    "portfolio import": (
        "ginkgo portfolio import --input trend.json",
        'ginkgo portfolio import "My trend" --input trend.json',
    ),
    "portfolio deposit": ('ginkgo portfolio deposit "My trend" 50000 --reason "more to work with"',),
    "portfolio withdraw": ('ginkgo portfolio withdraw "My trend" 50000 --reason profits',),
    "portfolio correct": (
        'ginkgo portfolio correct "My trend" --cash 12.50 --reason "interest of March"',
        'ginkgo portfolio correct "My trend" --code 600519.SH --volume 100 --price 1480 --reason "scrip dividend"',
    ),
    "portfolio adjustments": ('ginkgo portfolio adjustments "My trend"',),
    "account list": ("ginkgo account list",),
    "account show": ("ginkgo account show paper",),
    "account create": (
        "ginkgo account create --name desk-paper",
        "ginkgo account create --name desk --kind live --broker mybroker --max-order-value 200000",
    ),
    "account limit": ("ginkgo account limit desk --max-orders-per-minute 60 --max-daily-turnover none",),
    "backtest run": (
        'ginkgo backtest run --portfolio-id "My trend" --start-date 2020-01-01 --end-date 2024-12-31',
        "ginkgo backtest run --config portfolio.json --data prices.csv --html report.html",
    ),
    "backtest sweep": (
        "ginkgo backtest sweep --config portfolio.json --grid strategy.params.short_period=3,5,8 --sort total_return",
    ),
    "components": ("ginkgo components", "ginkgo components TrendFollowStrategy"),
    "reconcile": ("ginkgo reconcile", "ginkgo reconcile --json"),
    "parity": ('ginkgo parity "My trend" --data recorded.csv',),
    "node start": (
        "ginkgo node start --node-id node-3",
        "ginkgo node start --node-id node-3 --max-portfolios 20 --redis-host cache1",
    ),
    "node list": ("ginkgo node list",),
    "node drain": ("ginkgo node drain node-3", "ginkgo node drain node-3 --wait 60"),
    "node enable": ("ginkgo node enable node-3",),
    "node shutdown": ("ginkgo node shutdown node-3", "ginkgo node shutdown node-3 --yes"),
    "worker start": ("ginkgo worker start --type execution_node --node-id node-3",),
    "scheduler run": ("ginkgo scheduler run",),
    "scheduler nodes": ("ginkgo scheduler nodes",),
    "scheduler plan": ("ginkgo scheduler plan",),
    "scheduler commands": ("ginkgo scheduler commands", 'ginkgo scheduler commands --portfolio "My trend" --limit 5'),
    "scheduler status": ("ginkgo scheduler status --json",),
    "scheduler migrate": ('ginkgo scheduler migrate "My trend" --to node-2',),
    "scheduler rebalance": ("ginkgo scheduler rebalance",),
    "engine decide": (
        "ginkgo engine decide ORDER_ID cancelled",
        "ginkgo engine decide ORDER_ID filled --price 10.02 --volume 200",
    ),
    "engine run": ("ginkgo engine run",),
    "engine status": ("ginkgo engine status",),
    "engine start": ("ginkgo engine start", "ginkgo engine start --yes"),
    "engine stop": ("ginkgo engine stop", "ginkgo engine stop --yes"),
    "feed start": (
        "ginkgo feed start --source simulation --codes 600519.SH,000001.SZ --rate 500",
        "ginkgo feed start --source replay --file prices.csv --speed 10",
    ),
    "feed record": ("ginkgo feed record recorded.csv --market cn --since 2026-01-05T00:00:00+00:00",),
    "feed status": ("ginkgo feed status",),
    "livecore start": ("ginkgo livecore start --data-source sample --broker-type simulation",),
    "history run": ("ginkgo history run",),
    "history status": ("ginkgo history status",),
    "alerts run": ("ginkgo alerts run",),
    "alerts list": ("ginkgo alerts list --severity critical --since 2h",),
    "alerts follow": ("ginkgo alerts follow --severity warning",),
    "alerts channels": ("ginkgo alerts channels --user admin",),
    "alerts test": ("ginkgo alerts test phone",),
    "alerts status": ("ginkgo alerts status",),
    "web": ("ginkgo web", "GINKGO_WEB__HOST=0.0.0.0 GINKGO_WEB__PORT=8000 ginkgo web"),
    "flower": ("ginkgo flower",),
    "data init": ("ginkgo data init",),
    "data seed": ("ginkgo data seed",),
    "data restored": ("ginkgo data restored",),
    "system config show": ("ginkgo system config show", "ginkgo system config show redis --json"),
    "system config set": ("ginkgo system config set node.max_portfolios 10", "ginkgo system config set --debug off"),
    "system config document": ("ginkgo system config document --output configuration.md",),
    "apikey create": ("ginkgo apikey create prometheus --scope read --expires 52w",),
    "apikey list": ("ginkgo apikey list",),
    "apikey revoke": ("ginkgo apikey revoke prometheus",),
    "stack start": ("ginkgo stack start", "ginkgo stack start --foreground"),
    "stack stop": ("ginkgo stack stop",),
    "stack status": ("ginkgo stack status --json",),
    "mysql status": ("ginkgo mysql status",),
    "redis status": ("ginkgo redis status",),
    "kafka status": ("ginkgo kafka status",),
    "clickhouse status": ("ginkgo clickhouse status",),
    "mongo status": ("ginkgo mongo status",),
    "probe": ("ginkgo probe node --node-id node-3", "ginkgo probe scheduler", "ginkgo probe web"),
    "bench": ("ginkgo bench", "ginkgo bench routing latency --json"),
    "drill": ("ginkgo drill node-kill", "ginkgo drill chaos --seed 7 --minutes 5"),
}


def of(path: str) -> tuple[str, ...]:
    """Of a command; of a group, the first of each of its commands."""
    if path in EXAMPLES:
        return EXAMPLES[path]
    return tuple(found[0] for name, found in EXAMPLES.items() if name.startswith(f"{path} "))
