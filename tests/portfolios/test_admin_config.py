"""The configuration's form in the admin is made from the components' own declarations."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import portfolios
from portfolios.admin_config import ConfigWidget, components
from portfolios.kernel import registry

CONFIG: dict[str, Any] = {
    "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 3, "long_period": 8}},
    "risk_managements": [{"name": "LossLimitRisk", "params": {"loss_limit": 8}}],
    "sizer": {"name": "FixedAmountSizer", "params": {"amount": 20000}},
    "codes": ["600519.SH"],
}
SCRIPT = Path(portfolios.__file__).parent / "static/portfolios/config_form.js"


def page(config: Any) -> str:
    return str(ConfigWidget(config).render("config", json.dumps(config), {"id": "id_config"}))


def described(html: str) -> Any:
    found = re.search(r'<script id="id_config-described" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_knows_every_component_with_its_parameters() -> None:
    found = {info["name"]: info for info in described(page(CONFIG))["components"]}
    assert {info.name for info in registry.describe()} <= set(found)
    (limit,) = found["LossLimitRisk"]["params"]
    assert (limit["name"], limit["type"], limit["unit"], limit["exclusive_maximum"]) == (
        "loss_limit",
        "number",
        "%",
        100,
    )


def test_a_component_of_ones_own_is_among_them_and_one_that_is_gone_does_no_harm() -> None:
    own = {**CONFIG, "strategy": {"name": "ginkgo_site.drill.tally:TallyStrategy", "params": {}}}
    assert "ginkgo_site.drill.tally:TallyStrategy" in {info.name for info in components(own)}
    gone = {**CONFIG, "sizer": {"name": "no.such:Sizer"}}
    assert "no.such:Sizer" not in {info.name for info in components(gone)}
    assert components("nonsense") == components(None) == registry.describe()


def test_what_a_config_holds_cannot_end_the_script_it_is_in() -> None:
    html = page({**CONFIG, "codes": ["</script><script>alert(1)</script>"]})
    assert "<script>alert" not in html


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a Chromium")
def test_in_a_browser_it_is_a_form_and_what_is_chosen_is_in_the_document(tmp_path: Path) -> None:
    act = """
        const set = (name, value) => {
          const input = document.querySelector(`[data-param="${name}"]`);
          input.value = value;
          input.dispatchEvent(new Event("change"));
        };
        addEventListener("load", () => {
          set("short_period", "4");
          set("codes", "600519.SH, 000001.SZ");
          set("bar", JSON.stringify("1d"));
          document.querySelector("[data-add=risk]").click();
          document.body.append(Object.assign(document.createElement("pre"), {
            id: "result", textContent: document.querySelector("textarea").value }));
        });
    """
    file = tmp_path / "page.html"
    file.write_text(f"<body>{page(CONFIG)}<script>{SCRIPT.read_text()}</script><script>{act}</script></body>")
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom",
         f"--user-data-dir={tmp_path}", file.as_uri()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    result = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert result is not None, done.stderr[-2000:]
    config = json.loads(result[1])
    assert config["strategy"] == {"name": "TrendFollowStrategy", "params": {"short_period": 4, "long_period": 8}}
    assert config["codes"] == ["600519.SH", "000001.SZ"]
    assert config["policy"] == {"bar": "1d"}
    assert len(config["risk_managements"]) == 2
