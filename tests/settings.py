"""Ginkgo's settings in a home of this test run's own, so that no test ever meets a developer's data or configuration.

pytest-django reads the settings before any conftest; this is the one place early enough.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path

# A short path: the names of sockets have a limit. Always a new one: workers of one run must not share.
_HOME = Path(tempfile.mkdtemp(prefix="gk-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["GINKGO_HOME"] = str(_HOME)
os.environ["GINKGO_CONFIG_DIR"] = str(_HOME / "config")
# Of several workers on Debian's servers each has its own (tests.support.debian).
os.environ |= json.loads(os.environ.get(f"TEST_SERVERS_{os.environ.get('PYTEST_XDIST_WORKER')}", "{}"))
# Processes that tests start are the product as it is: they get the home, and the product's settings.
os.environ["DJANGO_SETTINGS_MODULE"] = "ginkgo_site.settings"

from ginkgo_site.settings import *  # noqa: E402, F403

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":  # noqa: F405
    # A file, as in production: threads then wait for each other as they do there (in memory they fail at once).
    DATABASES["default"]["TEST"] = {"NAME": str(_HOME / "test.sqlite3")}  # noqa: F405
