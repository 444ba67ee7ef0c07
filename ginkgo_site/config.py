"""The configuration: one frozen, typed, strict object, and where each of its values came from (SPEC section 2).

Defaults < `~/.ginkgo/config.yaml` (and `data_sources.yml`, `brokers.yml`) < environment `GINKGO_REDIS__HOST` < command
line. A secret may be in a file: `GINKGO_REDIS__PASSWORD_FILE=/run/secrets/redis`. A server is *given* if and only if
its address is set; else it is embedded. An unknown key or a wrong type is a `ConfigurationError` that names the key and
the file.
"""

from __future__ import annotations

import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from ginkgo_site import config_file
from ginkgo_site.config_file import ConfigurationError
from ginkgo_site.config_model import PROJECT, Config

__all__ = ["PROJECT", "Config", "ConfigurationError", "load"]

_PREFIX = "GINKGO_"
_FILE = "_file"
_NOT_CONFIGURATION = {
    "GINKGO_HOME",
    "GINKGO_CONFIG_DIR",
    "GINKGO_OVERRIDES",
    "GINKGO_TEST_SERVERS",
    "GINKGO_SOAK_MINUTES",
}
# What each file may hold: all of it, or the one section it is named for.
_FILES = {"config.yaml": None, "data_sources.yml": "sources", "brokers.yml": "brokers"}


def load(
    overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[Config, dict[str, str]]:
    """The configuration and, for each dotted key that is not a default, its source.

    `overrides` are dotted keys from the command line (`{"redis.host": "db1"}`); their values are typed. Raises
    ConfigurationError with all faults in one line.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    faults: list[str] = []
    for name, only in _FILES.items():
        path = config_file.folder(environ) / name
        data = config_file.read(path)
        if only is not None:
            faults += [f"{key}: {name} holds nothing but '{only}:' ({path})" for key in data if key != only]
            data = {key: value for key, value in data.items() if key == only}
        _merge(merged, data, str(path), origin)
    for variable, text in sorted(environ.items()):
        if variable.startswith(_PREFIX) and variable not in _NOT_CONFIGURATION:
            keys = variable.removeprefix(_PREFIX).lower().split("__")
            source = f"environment {variable}"
            if not _is_secret_file(keys):
                _put(merged, keys, typed(keys, text), source, origin)
                continue
            keys = [*keys[:-1], keys[-1].removesuffix(_FILE)]
            try:
                secret = Path(text).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise ConfigurationError(f"{'.'.join(keys)}: {text} cannot be read: {reason} ({source})") from None
            _put(merged, keys, secret, f"{source} ({text})", origin)
    if home := environ.get("GINKGO_HOME"):
        _put(merged, ["home"], str(Path(home).expanduser().resolve()), "environment GINKGO_HOME", origin)
    for key, value in {**_inherited(environ), **(overrides or {})}.items():
        _put(merged, key.split("."), value, "command line", origin)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        faults += [_fault(dict(e), origin) for e in error.errors()]
    if faults:
        raise ConfigurationError("; ".join(faults))
    return config, origin


def typed(keys: list[str], text: str) -> Any:
    """A value given as text (environment, `config set`), as its setting's type wants it.

    Where the setting is a text it is taken as it stands (a password may look like a number); elsewhere as YAML reads
    it, so that numbers, booleans and lists need no special case.
    """
    if _is_text(keys):
        return text
    try:
        return yaml.safe_load(text) if text else text
    except yaml.YAMLError:
        return text


def _is_text(keys: list[str]) -> bool:
    return bool({str, SecretStr} & _types(keys))


def _is_secret_file(keys: list[str]) -> bool:
    """`GINKGO_REDIS__PASSWORD_FILE` names the file that holds `redis.password`, as container platforms hand it over."""
    return keys[-1].endswith(_FILE) and SecretStr in _types([*keys[:-1], keys[-1].removesuffix(_FILE)])


def _types(keys: list[str]) -> set[Any]:
    """What a setting's value may be; nothing for a key that there is not."""
    model: Any = Config
    for key in keys:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or key not in model.model_fields:
            return set()
        model = model.model_fields[key].annotation
    parts = get_args(model) if get_origin(model) in (Union, types.UnionType) else (model,)
    return {get_args(part)[0] if get_origin(part) is Annotated else part for part in parts}


def _inherited(environ: Mapping[str, str]) -> dict[str, Any]:
    """The command line of the process that started this one, passed on by it."""
    text = environ.get("GINKGO_OVERRIDES") or "{}"
    return {str(key): value for key, value in config_file.parse(text, "GINKGO_OVERRIDES").items()}


def _merge(
    target: dict[str, Any], data: Mapping[Any, Any], source: str, origin: dict[str, str], prefix: tuple[str, ...] = ()
) -> None:
    for key, value in data.items():
        path = (*prefix, str(key))
        if isinstance(value, Mapping) and value:
            _merge(target, value, source, origin, path)
        elif value is not None or prefix:
            # A section with nothing in it, every line commented out, is no fault.
            _put(target, list(path), value, source, origin)


def _put(target: dict[str, Any], keys: list[str], value: Any, source: str, origin: dict[str, str]) -> None:
    for key in keys[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target[keys[-1]] = value
    origin[".".join(keys)] = source


def _fault(error: dict[str, Any], origin: Mapping[str, str]) -> str:
    path = ".".join(map(str, error["loc"]))
    source = origin.get(path) or next(
        (s for k, s in origin.items() if k.startswith(f"{path}.") or path.startswith(f"{k}.")), "configuration"
    )
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key ({source})"
    if error["type"] in ("model_type", "dict_type"):
        return f"{path}: must be a section with keys of its own ({source})"
    said = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] == "string_type":
        said += ", in quotes if it looks like something else"
    return f"{path}: {said[0].lower()}{said[1:]} ({source})"
