"""`python -m tests.protocol --seed N`: that one schedule, told step by step. Without: many, and what came of them."""

from __future__ import annotations

import os
import sys

if os.environ.get("PYTHONHASHSEED") != "0":
    # The order of sets is part of a schedule: without this a seed would be another history each time.
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", "tests.protocol", *sys.argv[1:]])

from tests.protocol.command import main

main()
