"""docs/configuration.md, made from the typed configuration: every key with its type, default, variable and meaning."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ginkgo_site import config_model, overrides
from ginkgo_site.config_model import PROJECT, Config, Directory, Rate, Texts

_HEAD = """\
# Configuration

Made from the code by `ginkgo system config document`; a test fails where it is not what the code says. Do not edit it.

## Where a value comes from

The later wins:

1. the default, in the tables below;
2. `config.yaml` in `~/.ginkgo` (another directory: `$GINKGO_CONFIG_DIR`), and beside it `data_sources.yml`, which holds
   nothing but `sources:`, and `brokers.yml`, which holds nothing but `brokers:`;
3. the environment: `GINKGO_REDIS__HOST=cache1` is `redis: {host: cache1}`. The value is read as YAML, so lists and
   sections are `[a, b]` and `{a: 1}`, unless the setting is a text; a list may be a text with commas;
4. the command line of {commands}:
   {options}.

`GINKGO_HOME` is `home`. What an operator sets in the admin for the beat's intervals wins over `scheduler`.

```console
$ ginkgo system config show                       # every setting, and where it came from; secrets are masked
$ ginkgo system config show redis
$ ginkgo system config set node.max_portfolios 8  # into config.yaml, after a check of the whole
```

A server is *given* if and only if its address is set (`mysql.host`, `redis.host`, `kafka.bootstrap_servers`,
`mongodb.host`, `clickhouse.host`); else it is embedded. An unknown key or a wrong type ends every command with one line
that names the key and the file, and exit code 2. A process reads its configuration when it starts.

Secrets (*secret* below) never appear in logs or in `system config show`. `config.yaml` may hold them: keep it readable
by its owner only, as `system config set` makes it; or keep a secret in a file of its own, which a variable names:
`GINKGO_REDIS__PASSWORD_FILE=/run/secrets/redis`.
"""


@dataclass(frozen=True)
class Entry:
    """One setting, as the tables show it."""

    key: str
    type: str
    default: str
    variable: str
    meaning: str


def document() -> str:
    """The page, in Markdown."""
    options = ", ".join(f"`{option}` (`{key}`)" for option, key in overrides.KEYS.items())
    commands = ", ".join(f"`ginkgo {name}`" for name in overrides.COMMANDS)
    head = _HEAD.replace("{commands}", commands).replace("{options}", options)
    return "\n".join([head, *(_table(name, words, rows) for name, words, rows in sections())]).rstrip() + "\n"


def sections() -> Iterator[tuple[str, str, list[Entry]]]:
    """Each section with its words and settings; what belongs to none first, as ''."""
    inner = {name: kind for name, field in Config.model_fields.items() if (kind := _section(field.annotation))}
    own = {name: field for name, field in Config.model_fields.items() if name not in inner}
    yield "", "", [_entry(Config, "", name, field) for name, field in own.items()]
    for name, kind in inner.items():
        words = inspect.cleandoc(kind.__doc__ or "")
        rows = [_entry(kind, f"{name}.", key, field) for key, field in kind.model_fields.items()]
        if name == "kafka":
            topic = config_model.Topic
            rows += [_entry(topic, "kafka.topics.NAME.", key, field) for key, field in topic.model_fields.items()]
        yield name, words, rows


def _table(name: str, words: str, rows: list[Entry]) -> str:
    lines = [f"## {name}" if name else "## Outside of the sections", ""]
    lines += [words, ""] if words else []
    lines += ["| setting | type | default | environment | meaning |", "|---|---|---|---|---|"]
    lines += [f"| `{r.key}` | {r.type} | {r.default} | {r.variable} | {r.meaning} |" for r in rows]
    return "\n".join([*lines, ""])


def _entry(model: type[BaseModel], prefix: str, name: str, field: FieldInfo) -> Entry:
    key = f"{prefix}{name}"
    # A topic's name has dots, which no variable can have: all of `kafka.topics` is one value there.
    variable = "" if "NAME" in key else "`GINKGO_HOME`" if key == "home" else f"`GINKGO_{_upper(key)}`"
    text = _type(field.annotation, field.metadata)
    return Entry(key, text.replace("|", "\\|"), _default(field), variable, meanings(model)[name].replace("|", "\\|"))


def _upper(key: str) -> str:
    return key.upper().replace(".", "__")


def _section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


_NAMES: Mapping[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "integer",
    float: "number",
    SecretStr: "text, secret",
    Directory: "absolute path",
    Texts: "list of texts",
    Rate: "rate",
}


def _type(annotation: Any, metadata: list[Any]) -> str:
    named = Annotated[annotation, *metadata] if metadata else annotation
    for known in (named, annotation):
        if known in _NAMES:
            return _NAMES[known] + _bounds(metadata)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0], list(parts[1:]))
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part, metadata) for part in parts if part is not type(None))
    if origin is Literal:
        return " | ".join(f"`{_yaml(value)}`" for value in parts)
    if origin is tuple:
        return "list of texts"
    if origin is dict:
        return "section"
    return "absolute path" if getattr(annotation, "__name__", "") == "Path" else str(annotation)


def _bounds(metadata: list[Any]) -> str:
    low = next((f" ≥ {m.ge}" for m in metadata if isinstance(m, Ge)), "")
    low = low or next((f" > {m.gt}" for m in metadata if isinstance(m, Gt)), "")
    high = next((f" ≤ {m.le}" for m in metadata if isinstance(m, Le)), "")
    return f",{low}{' and' if low and high else ''}{high}" if low or high else ""


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", (), {}):
        return ""
    if value == PROJECT / ".ginkgo":
        return "`.ginkgo` in the clone"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple):
        return ", ".join(_yaml(inner) for inner in value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


@cache
def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What stands in the source below each setting; read there, so that no other command has to."""
    (tree,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            found[before.target.id] = " ".join(after.value.value.split())
    return found
