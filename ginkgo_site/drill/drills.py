"""The drills by name. Each leaves what it broke broken: the world is restored, and the books are judged, afterwards."""

from __future__ import annotations

from ginkgo_site.drill import load_drills, node_drills, server_drills
from ginkgo_site.drill.profiles import USUAL
from ginkgo_site.drill.scene import Drill

DRILLS = {
    "node-kill": Drill("kill -9 of a node: its portfolios run elsewhere", node_drills.kill),
    "node-stop": Drill("SIGTERM: a node gives its portfolios back", node_drills.stop),
    "node-restart": Drill("a node that dies and is back at once", node_drills.restart),
    "node-kill-steps": Drill("kill -9 at each step around checkpoint and send", node_drills.kill_steps),
    "node-freeze": Drill("SIGSTOP past the TTL, take-over, SIGCONT", node_drills.freeze),
    "node-freeze-locked": Drill("SIGSTOP in the middle of a transaction, take-over, SIGCONT",
                                node_drills.freeze_locked, needs_mysql=True),
    "node-redis": Drill("a partition between one node and Redis", node_drills.cut_from_redis),
    "node-mysql": Drill("a partition between one node and MySQL", node_drills.cut_from_mysql, needs_mysql=True),
    "node-kafka": Drill("a partition between one node and Kafka", node_drills.cut_from_kafka,
                        unfit=node_drills.no_kafka_to_cut),
    "new-node": Drill("a node that is new gets its share", node_drills.new, portfolios=6),
    "clock-skew": Drill("clocks that are minutes apart", node_drills.clock_skew, unfit=node_drills.no_skew,
                        clocks_differ=True),
    "engine-kill": Drill("kill -9 of the engine, three times", server_drills.engine_kill),
    "engine-freeze": Drill("SIGSTOP of the engine", server_drills.engine_freeze),
    "two-engines": Drill("SIGSTOP of one of two engines past its session, SIGCONT", server_drills.two_engines),
    "scheduler-kill": Drill("kill -9 of the scheduler in the middle of moves", server_drills.scheduler_kill),
    "redis-restart": Drill("kill -9 of Redis", server_drills.redis_restart, kills=("redis",)),
    "redis-empty": Drill("Redis restarted empty: no living node is failed over", server_drills.redis_empty,
                         kills=("redis",)),
    "redis-gone": Drill("Redis silent for 20 s", server_drills.redis_gone),
    "kafka-restart": Drill("kill -9 of Kafka under load", server_drills.kafka_restart, kills=("kafka",)),
    "kafka-gone": Drill("Kafka silent for 25 s", server_drills.kafka_gone, kills=("kafka",), slow=True),
    "mysql-restart": Drill("kill -9 of MySQL under load", server_drills.mysql_restart, kills=("mysql",),
                           needs_mysql=True),
    "mysql-gone": Drill("MySQL silent for 25 s", server_drills.mysql_gone, needs_mysql=True),
    "disk-full": Drill("the database's disk takes no more", server_drills.disk_full,
                       unfit=server_drills.no_disk_to_fill),
    "migration": Drill("every portfolio moved, and moved back", load_drills.migration),
    "reload": Drill("configurations changed under load, a hundred at once", load_drills.reload),
    "poison": Drill("messages that are none", load_drills.poison),
    "slow-portfolio": Drill("one that waits 200 ms an event beside four quick ones", load_drills.slow_portfolio,
                            rate=600.0, every=7, slow=True),
    "node-kill-30": Drill("kill -9 of a node, with the default intervals", node_drills.kill_usual, profile=USUAL),
}  # fmt: skip
