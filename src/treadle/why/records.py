"""What ``why`` answers, as records: for a command line, an HTTP API, a page."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from treadle.records import JobState

__all__ = ["Blocker", "Kind", "Why"]


class Kind(StrEnum):
    """What stands in the way of a job, or became of it."""

    DEPENDENCY = "dependency"  # other jobs must end first
    KEY = "key"  # another job of its key runs
    LIMIT = "limit"  # all slots of a limit are taken
    RATE = "rate"  # a rate has given it a later place
    SCHEDULED = "scheduled"  # its time has not come
    RETRY = "retry"  # an attempt ended; the next one has its time
    ASIDE = "aside"  # a foreman gave it back, and said why
    PAUSED = "paused"  # its queue is paused
    FULL = "full"  # its queue runs as many jobs as it may
    NO_FOREMAN = "no_foreman"  # no foreman serves its queue
    UNKNOWN_TASK = "unknown_task"  # no foreman that serves its queue knows its task
    SUSPECT = "suspect"  # it may have killed a foreman, and must run alone
    IN_LINE = "in_line"  # nothing but other jobs
    RUNNING = "running"
    LAPSED = "lapsed"  # its foreman has not been heard of
    ENDED = "ended"


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """One reason, and the way out."""

    kind: Kind
    # A sentence for people.
    says: str
    # What would clear it, for people; empty when nothing needs to be done.
    action: str = ""
    # The same as arguments of ``treadle``, where a command can do it.
    command: tuple[str, ...] = ()
    # When it clears by itself, in seconds since the epoch.
    until: float | None = None
    # The jobs that it is about, at most ten.
    jobs: tuple[str, ...] = ()


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job is where it is."""

    job: str
    task: str
    queue: str
    state: JobState
    # One sentence.
    summary: str
    # What stands in the way, first things first. For a job that runs or has ended: how it is.
    blockers: tuple[Blocker, ...] = ()
