"""The settings, their types and their defaults. One comment per setting; the docs quote them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from treadle.config.secrets import mask

__all__ = [
    "DEFAULT_URL",
    "ForemanSettings",
    "LogSettings",
    "LoopSettings",
    "ModeSettings",
    "Settings",
    "WorkerSettings",
]

DEFAULT_URL = "sqlite:///treadle.db"

# The kinds tell the reader of a setting how text becomes a value; see ``values.py``.
Count = Annotated[int, Meta(ge=1, extra={"kind": "count", "says": "a whole number from 1"})]
CountFrom0 = Annotated[int, Meta(ge=0, extra={"kind": "count", "says": "a whole number from 0"})]
Size = Annotated[
    int, Meta(ge=1, extra={"kind": "size", "says": "bytes, as a number or like '512MiB'"})
]
Seconds = Annotated[
    float,
    Meta(gt=0, extra={"kind": "duration", "says": "seconds above 0, or text like '30s' or '5m'"}),
]
SecondsFrom0 = Annotated[
    float,
    Meta(ge=0, extra={"kind": "duration", "says": "seconds from 0, or text like '30s' or '5m'"}),
]
Url = Annotated[
    str,
    Meta(pattern="^[a-z+]+://", extra={"kind": "url", "says": "a URL like 'sqlite:///jobs.db'"}),
]
Namespace = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9_.:-]{1,64}\Z",
        extra={"kind": "", "says": "1 to 64 letters, digits and _ . : -"},
    ),
]
Path = Annotated[
    str, Meta(min_length=1, extra={"kind": "", "says": "the path of a file, like 'spool.db'"})
]
Queues = Annotated[
    tuple[str, ...],
    Meta(
        min_length=1,
        extra={"kind": "queues", "says": "a list of queues, or 'a,b', with weights 'a:5,b'"},
    ),
]
Name = Annotated[
    str, Meta(extra={"kind": "", "says": "the name of a backend, one of [backends] or 'default'"})
]
Names = Annotated[
    tuple[str, ...], Meta(extra={"kind": "names", "says": "a list of queues, or 'a,b'"})
]


class ForemanSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a foreman does unless told otherwise."""

    # Jobs that run at a time in one process.
    concurrency: Count = 100
    # Queues to serve, in order of preference; "mail" covers "mail.*", "mail:5" has weight 5.
    queues: Queues = ("*",)
    # Queues not to serve; of these and ``queues`` the longest name wins.
    exclude: Names = ()
    # How long a job stays with a foreman that says nothing.
    lease: Seconds = 30.0
    # How long running jobs may go on after a stop was asked for.
    grace: SecondsFrom0 = 30.0
    # Foreman processes that ``treadle run`` keeps alive.
    processes: Count = 1
    # A process is replaced after so many jobs,
    max_jobs: Count | None = None
    # or when it uses so much memory,
    max_rss: Size | None = None
    # or when it has run so long.
    max_age: Seconds | None = None
    # A foreman that is told of suspects drains within this time, to run one alone.
    suspect_every: Seconds = 30.0
    # A job of a task that nobody knows fails after this time.
    unknown_grace: SecondsFrom0 = 3600.0


class LoopSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the workers of a mode with one worker, unless they are told otherwise."""

    # Calls that wait and run in one worker, at the most.
    max_queued_tasks: Count | None = None
    # Further attempts of a call.
    retry: CountFrom0 | None = None
    # How long an attempt of a call may take.
    timeout: Seconds | None = None
    # How long code has to end once it was asked to.
    patience: Seconds | None = None


class ModeSettings(LoopSettings, frozen=True, kw_only=True):
    """What holds for the workers and pools of one mode, unless they are told otherwise."""

    # Workers of a pool.
    max_workers: Count | None = None


class WorkerSettings(LoopSettings, frozen=True, kw_only=True):
    """What holds for workers and pools of all modes, unless they are told otherwise."""

    # Where workers live that are given no mode.
    mode: Literal["sync", "thread", "asyncio", "process", "ray"] | None = None
    # What holds for one mode only, and counts more.
    thread: ModeSettings = ModeSettings()
    asyncio: LoopSettings = LoopSettings()
    process: ModeSettings = ModeSettings()
    ray: ModeSettings = ModeSettings()


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the programs of the command line log, and how."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["console", "json"] = "console"

    @property
    def number(self) -> int:
        """The level as the ``logging`` module counts it."""
        return logging.getLevelNamesMapping()[self.level.upper()]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a process. Made by :func:`treadle.config.load`."""

    # The app that the command line works with when none is named: "module:attribute".
    app: str | None = None
    # Where jobs live.
    url: Url = DEFAULT_URL
    # Where the jobs live that RabbitMQ gives to foremen, when the URL is of RabbitMQ.
    companion: Url | None = None
    # File in which jobs wait while the server of the URL is away; none keeps none.
    spool: Path | None = None
    # Jobs that the file may hold.
    spool_max: Count = 100_000
    # Where the jobs of some queues live instead, by a name for each: "fast" to its URL.
    backends: Mapping[str, Url] = {}
    # Queue, with its subqueues, to the name of its backend; all others live at ``url``.
    routes: Mapping[str, Name] = {}
    # Prefix of every key, table and channel.
    namespace: Namespace = "treadle"
    # Largest sealed payload, for arguments and for results.
    max_payload: Size = 1 << 20
    # How long a store remembers the answer to a request whose job is gone.
    request_ttl: Seconds = 600.0
    # Failed jobs kept per namespace; the oldest go first.
    max_failed: Count = 10_000
    # Jobs each of which was enqueued by the one before, without a delay, up to the last one.
    max_depth: Count = 1_000
    foreman: ForemanSettings = ForemanSettings()
    workers: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()
    # Where each value that is not a default came from, by dotted name. Not a setting.
    sources: Mapping[str, str] = {}

    def __repr__(self) -> str:
        # Reports of errors show local variables, and the URL may hold a password.
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["url"] = mask(self.url)
        shown["backends"] = {name: mask(url) for name, url in self.backends.items()}
        shown["companion"] = None if self.companion is None else mask(self.companion)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
