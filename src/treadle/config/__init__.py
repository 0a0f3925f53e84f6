"""Settings: argument > environment > file > default, each value with its origin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from treadle.config.secrets import mask
from treadle.config.settings import (
    DEFAULT_URL,
    ForemanSettings,
    LogSettings,
    Settings,
    WorkerSettings,
)
from treadle.config.sources import Given, find_file, from_arguments, from_environment, from_file
from treadle.config.values import FIELDS, OPEN, Field, field_of, read
from treadle.errors import InvalidOption
from treadle.guards import refuse_unknown
from treadle.queuenames import weighted

__all__ = [
    "DEFAULT_URL",
    "ForemanSettings",
    "LogSettings",
    "Origin",
    "Settings",
    "WorkerSettings",
    "foreman_settings",
    "load",
    "mask",
    "origins",
]


S = TypeVar("S", bound=msgspec.Struct)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A setting, its value, and who gave it."""

    # Dotted: "foreman.concurrency".
    name: str
    # Secrets in URLs are masked.
    value: Any
    # "argument", "environment TREADLE_URL", a file, or "default".
    origin: str


def load(**arguments: Any) -> Settings:
    """The settings of this process.

    Args:
        arguments: settings by name, the groups as mappings: ``url="memory://"``,
            ``foreman={"concurrency": 50}``. ``None`` means not given.

    Raises:
        UnknownOption: a setting that does not exist, with the nearest one that does.
        InvalidOption: a value that cannot work, with the place where it was given.
    """
    return resolve(arguments, os.environ, Path.cwd())


def resolve(arguments: Mapping[str, Any], environ: Mapping[str, str], start: Path) -> Settings:
    """The settings from given sources; :func:`load` uses those of the process."""
    file = find_file(start)
    given: dict[str, Given] = {one.name: one for one in from_file(file)} if file else {}
    given |= {one.name: one for one in from_environment(environ)}
    given |= {one.name: one for one in from_arguments(arguments)}
    values = {name: read(_field(name), one.value, one.where) for name, one in given.items()}
    sources = {name: one.origin for name, one in given.items()}
    settings = msgspec.structs.replace(_built(Settings(), values), sources=sources)
    _check_something_is_served(settings.foreman)
    return settings


def _field(name: str) -> Field:
    field = field_of(name)
    assert field is not None, "the sources give settings that exist"
    return field


def _built(base: S, values: Mapping[str, Any], prefix: str = "") -> S:
    """Settings with the values of dotted names in the place of what they have."""
    changed: dict[str, Any] = {}
    for name in base.__struct_fields__:
        group, dotted = getattr(base, name), prefix + name
        if dotted in OPEN:
            start = f"{dotted}."
            own = {key: value for key, value in values.items() if key.startswith(start)}
            changed[name] = {key.removeprefix(start): value for key, value in own.items()}
        elif dotted in values:
            changed[name] = values[dotted]
        elif isinstance(group, msgspec.Struct):
            changed[name] = _built(group, values, f"{dotted}.")
    return msgspec.structs.replace(base, **changed)


def foreman_settings(base: ForemanSettings, **options: Any) -> ForemanSettings:
    """The settings of one foreman: the options that are given, over what is configured.

    Args:
        base: what is configured.
        options: by name; ``None`` means not given, ``"none"`` switches off what may be absent.

    Raises:
        UnknownOption: a foreman has no such option; names the nearest one.
        InvalidOption: a value that cannot work.
    """
    known = ForemanSettings.__struct_fields__
    given: dict[str, Any] = {}
    refuse_unknown("a foreman", options, known, _SYNONYMS)
    for name, value in options.items():
        if value is not None:
            given[name] = read(FIELDS[f"foreman.{name}"], value, "foreman option")
    settings = msgspec.structs.replace(base, **given) if given else base
    _check_something_is_served(settings)
    return settings


def _check_something_is_served(settings: ForemanSettings) -> None:
    if {weighted(item)[0] for item in settings.queues} <= set(settings.exclude):
        raise InvalidOption(
            f"exclude: all of queues={','.join(settings.queues)} are excluded, so that nothing is "
            "left to serve; leave out one of the two",
            option="exclude",
            value=settings.exclude,
        )


_SYNONYMS = {
    "max_workers": "concurrency", "workers": "concurrency", "threads": "concurrency",
    "prefetch": "concurrency", "max_tasks": "max_jobs", "max_tasks_per_child": "max_jobs",
    "visibility_timeout": "lease", "shutdown_timeout": "grace", "graceful_timeout": "grace",
    "max_memory": "max_rss",
}  # fmt: skip
"""Words for the same in other libraries."""


def origins(settings: Settings) -> list[Origin]:
    """Every setting with its value and its origin, in the order of the reference."""
    return [
        Origin(
            name=name,
            value=_shown(_value(settings, name)),
            origin=settings.sources.get(name, "default"),
        )
        for name in (*FIELDS, *_chosen(settings))
    ]


def _chosen(settings: Settings) -> list[str]:
    """The settings of tables whose names the user has chosen."""
    return [f"{table}.{name}" for table in OPEN for name in getattr(settings, table)]


def _value(settings: Settings, name: str) -> Any:
    table, _, rest = name.partition(".")
    if table in OPEN:
        return getattr(settings, table)[rest]
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _shown(value: Any) -> Any:
    return mask(value) if isinstance(value, str) else value
