"""Python's cyclic garbage collector, as a node wants it: no long pause in the middle of a market.

What start-up made (Django, Celery, all modules) is there for good: looking through it again takes 100 ms and more, with
every thread stopped. And ticks come by the hundred thousand, none of them in a cycle.
"""

from __future__ import annotations

import gc


def settle() -> None:
    """Leave everything made so far out of all further collections, and collect the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
