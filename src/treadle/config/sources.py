"""Where settings come from: arguments, environment variables, files. Nothing is merged here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import msgspec

from treadle import failpoints
from treadle.config.values import FIELDS, OPEN, field_of
from treadle.errors import InvalidOption, UnknownOption
from treadle.hints import nearest

__all__ = ["Given", "find_file", "from_arguments", "from_environment", "from_file"]

PREFIX = "TREADLE_"
# "TREADLE__…" is what our own processes tell each other, failpoints and the model are steered by
# tests. The others are set by Kubernetes in every container beside a service of the name
# "treadle".
_NOT_SETTINGS = (
    "TREADLE__", failpoints.ENVIRONMENT, "TREADLE_MODEL_", "TREADLE_PORT", "TREADLE_SERVICE_",
)  # fmt: skip

_HEADINGS = frozenset({"treadle", "tool"})  # what holds the settings in ``pyproject.toml``


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A value that somebody gave."""

    # Dotted name of the setting.
    name: str
    value: Any
    # For messages: "environment variable TREADLE_URL".
    where: str
    # For ``origins``: "environment TREADLE_URL".
    origin: str


def from_arguments(arguments: Mapping[str, Any]) -> Iterator[Given]:
    """What a caller passed; ``None`` means not given."""
    for name, value in _leaves(arguments, where="argument"):
        if value is not None:
            yield Given(name=name, value=value, where="argument", origin="argument")


def from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    """The variables that start with ``TREADLE_``; an empty one means not given."""
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(_NOT_SETTINGS) or not value:
            continue
        where = f"environment variable {variable}"
        name = variable.removeprefix(PREFIX).lower().replace("__", ".")
        if name not in OPEN and field_of(name) is None:
            known = {spell(known): known for known in (*FIELDS, *OPEN)}
            raise _unknown(where, variable, known)
        for one, said in _pairs(name, value, where) if name in OPEN else ((name, value),):
            yield Given(name=one, value=said, where=where, origin=f"environment {variable}")


def _pairs(table: str, text: str, where: str) -> Iterator[tuple[str, str]]:
    """The settings of ``mail=fast,images.thumbs=bulk``."""
    for pair in text.split(","):
        name, sign, value = pair.partition("=")
        if table != "routes" or not sign:
            way = "'mail=fast,images.thumbs=bulk'" if table == "routes" else f"{where}__NAME=URL"
            raise InvalidOption(
                f"{where}: {table} is not to be read from {pair.partition(':')[0]!r}; write {way}",
                option=table,
                value=table,
            )
        yield f"{table}.{name.strip()}", value.strip()


def spell(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper().replace(".", "__")


def find_file(start: Path) -> Path | None:
    """The nearest ``treadle.toml``, or ``pyproject.toml`` with a table ``[tool.treadle]``.

    Looks in ``start`` and the directories above it, up to the root of the repository. In one
    directory ``treadle.toml`` wins.
    """
    for directory in (start, *start.parents):
        own, project = directory / "treadle.toml", directory / "pyproject.toml"
        if own.is_file():
            return own
        if project.is_file() and "treadle" in _parse(project).get("tool", {}):
            return project
        if (directory / ".git").exists():
            return None
    return None


def from_file(path: Path) -> Iterator[Given]:
    """The settings that a file holds."""
    table, place = _parse(path), str(path)
    if path.name == "pyproject.toml":
        place = f"{path} [tool.treadle]"
        own: Any = table["tool"]["treadle"]
        if not isinstance(own, dict):
            raise InvalidOption(f"{place} must be a table", option="tool.treadle", value=own)
        table = cast("dict[str, Any]", own)
    for name, value in _leaves(table, where=place):
        named = name in ("url", "companion") or name.startswith("backends.")
        resolved = _beside(value, path.parent) if named else value
        if name == "spool" and isinstance(value, str) and value.strip().lower() != "none":
            resolved = str(path.parent / value)
        yield Given(name=name, value=resolved, where=place, origin=place)


def _beside(url: Any, directory: Path) -> Any:
    """A relative SQLite path counts from the file that names it, not from where one stands."""
    scheme = "sqlite:///"
    if not isinstance(url, str) or not url.startswith(scheme):
        return url
    path, mark, query = url.removeprefix(scheme).partition("?")
    if not path or path.startswith(":") or Path(path).is_absolute():
        return url
    return f"{scheme}{quote(str(directory))}/{path}{mark}{query}"


def _parse(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidOption(
            f"{path} cannot be read as TOML: {error}", option="file", value=str(path)
        ) from error


def _leaves(table: Mapping[str, Any], *, where: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    groups = {name[:at] for name in FIELDS for at, sign in enumerate(name) if sign == "."}
    for key, value in table.items():
        name = prefix + key
        if name in OPEN and isinstance(value, Mapping):
            yield from _chosen(name, cast("Mapping[str, Any]", value), where)
        elif name in OPEN and value is None:
            continue
        elif name in FIELDS:
            yield name, value
        elif name in groups and isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", value)
            yield from _leaves(inner, where=where, prefix=f"{name}.")
        elif name in groups and value is None:
            continue
        elif name in groups or name in OPEN:
            raise InvalidOption(
                f"{where}: {name} is {value!r}, but must be a table of settings",
                option=name,
                value=value,
            )
        else:
            raise _unknown(where, name, {known: known for known in (*FIELDS, *groups, *OPEN)})


def _chosen(prefix: str, table: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """The settings of a table whose names a user chooses; ``a.b = …`` is a name with a dot."""
    for key, value in table.items():
        if not key:
            raise InvalidOption(
                f"{where}: {prefix} has a name that is none: {key!r}", option=prefix, value=key
            )
        if isinstance(value, Mapping):
            yield from _chosen(f"{prefix}.{key}", cast("Mapping[str, Any]", value), where)
        else:
            yield f"{prefix}.{key}", value


def _siblings(name: str, known: Mapping[str, str]) -> list[str]:
    """The settings of the part that a name is in, which are those that may have been meant."""
    separator = "__" if "__" in name else "."
    part = name.rpartition(separator)[0]
    beside = sorted(one for one in known if one.rpartition(separator)[0] == part)
    return beside or sorted(one for one in known if separator not in one)


def _unknown(where: str, name: str, known: Mapping[str, str]) -> UnknownOption:
    last = {spelling.rpartition(".")[2]: spelling for spelling in known}
    near = nearest(name, known)
    if near is None and (end := nearest(name, last, likeness=0.7)):
        near = last[end]
    if name in _HEADINGS:
        hint = " Here they stand at the top, under no heading of that name."
    elif near:
        hint = f" Did you mean {near!r}?"
    else:
        hint = f" Known: {', '.join(_siblings(name, known))}."
    setting = "no setting" if where.endswith(name) else f"no setting {name!r}"
    return UnknownOption(
        f"{where}: {setting}{' of that name' if where.endswith(name) else ''}.{hint}",
        option=name,
        known=tuple(sorted(known)),
    )
