"""A public site is served as one: nothing left for Django's deployment checks to say, or no start at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ginkgo_site import config
from ginkgo_site.config import ConfigurationError
from tests.support import stack as stacks

URL = "https://ginkgo.example.com"
KEY = "0123456789abcdef" * 4


def load(**variables: str) -> config.Config:
    """The configuration of these variables, and of no file."""
    return config.load(environ={"GINKGO_CONFIG_DIR": "/nowhere", **variables})[0]


def test_the_deployment_checks_of_a_public_site_find_nothing(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    given = {"GINKGO_WEB__URL": URL, "GINKGO_WEB__SECRET_KEY_FILE": str(key)}
    done = stacks.run(tmp_path, "check", "--deploy", "--fail-level", "WARNING", variables=given)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues (0 silenced)" in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "set web.secret_key too"),
        ({"GINKGO_WEB__SECRET_KEY": "short"}, "too easy to guess"),
        ({"GINKGO_WEB__SECRET_KEY": "a" * 64}, "too easy to guess"),
        ({"GINKGO_WEB__SECRET_KEY": KEY, "GINKGO_WEB__DEBUG": "true"}, "debug"),
    ],
)
def test_a_public_site_is_refused_in_one_line(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        load(GINKGO_WEB__URL=URL, **given)
    assert "\n" not in str(raised.value)


def test_a_site_of_this_machine_needs_no_key_of_its_own() -> None:
    assert not load(GINKGO_WEB__URL="http://trading.lan").web.public


@pytest.mark.parametrize("url", ("ginkgo.example.com", "ftp://a", "https://", "https://user@a", f"{URL}/below"))
def test_what_is_no_address_of_a_site_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"web\.url: must be like"):
        load(GINKGO_WEB__URL=url)


def test_flower_is_not_shown_to_others_without_a_password() -> None:
    with pytest.raises(ConfigurationError, match="flower_password"):
        load(GINKGO_WEB__FLOWER_HOST="0.0.0.0")
    assert load(GINKGO_WEB__FLOWER_HOST="0.0.0.0", GINKGO_WEB__FLOWER_PASSWORD="sesame").web.flower_host == "0.0.0.0"


class TestSecretsInFiles:
    def test_are_read_without_the_line_s_end(self, tmp_path: Path) -> None:
        file = tmp_path / "redis"
        file.write_text("sesame \n")
        assert load(GINKGO_REDIS__PASSWORD_FILE=str(file)).redis.password.get_secret_value() == "sesame "

    def test_show_where_they_came_from(self, tmp_path: Path) -> None:
        file = tmp_path / "redis"
        file.write_text("sesame")
        _, origin = config.load(environ={"GINKGO_CONFIG_DIR": "/nowhere", "GINKGO_REDIS__PASSWORD_FILE": str(file)})
        assert origin["redis.password"] == f"environment GINKGO_REDIS__PASSWORD_FILE ({file})"

    def test_that_cannot_be_read_are_a_fault(self) -> None:
        with pytest.raises(ConfigurationError, match=r"redis\.password: /nowhere/redis cannot be read: No such file"):
            load(GINKGO_REDIS__PASSWORD_FILE="/nowhere/redis")

    def test_only_secrets_may_be_in_files(self) -> None:
        with pytest.raises(ConfigurationError, match=r"redis\.host_file: unknown key"):
            load(GINKGO_REDIS__HOST_FILE="/etc/hostname")
