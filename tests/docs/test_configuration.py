"""docs/configuration.md is what the code says, and what it says of each setting holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ginkgo_site import config_document
from ginkgo_site.config import load
from ginkgo_site.config_document import Entry
from tests.docs.snippets import DOCS

ENTRIES = [entry for _, _, rows in config_document.sections() for entry in rows]


def test_the_page_is_what_the_command_makes_of_the_code() -> None:
    stale = "docs/configuration.md is stale: ginkgo system config document --output docs/configuration.md"
    assert (DOCS / "configuration.md").read_text() == config_document.document(), stale


def test_every_setting_says_what_it_means() -> None:
    assert len(ENTRIES) > 80
    assert [e.key for e in ENTRIES if len(e.meaning) < 5] == []


def test_no_type_is_left_as_python_writes_it() -> None:
    assert [e.key for e in ENTRIES if "<" in e.type.replace("\\", "") or "typing" in e.type] == []


@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e.variable and e.default and e.key != "home"], ids=lambda e: e.key
)
def test_the_variable_sets_it_and_takes_its_default(entry: Entry, tmp_path: Path) -> None:
    variable, default = entry.variable.strip("`"), entry.default.strip("`")
    config, origin = load(environ={"GINKGO_CONFIG_DIR": str(tmp_path), variable: default})
    assert origin[entry.key] == f"environment {variable}"
    value = config
    for name in entry.key.split("."):
        value = getattr(value, name)
    assert yaml.safe_load(config_document._yaml(value)) == yaml.safe_load(default)
