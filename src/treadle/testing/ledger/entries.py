"""What stands in a ledger: one line for each fact, as the process that knew it wrote it.

Times are readings of the monotonic clock, which all processes of a machine have in common.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = [
    "Accepted",
    "Answered",
    "Blow",
    "Effect",
    "Entry",
    "Fated",
    "Fault",
    "Granted",
    "Passed",
    "Retried",
    "Said",
    "Sent",
    "Started",
    "Tried",
    "Waited",
    "decode",
    "encode",
]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    at: float


class Tried(_Entry, frozen=True, kw_only=True, tag="tried"):
    """A push is about to be sent."""

    job: str


class Accepted(_Entry, frozen=True, kw_only=True, tag="accepted"):
    """The store has answered that it made this job."""

    job: str


class Granted(_Entry, frozen=True, kw_only=True, tag="granted"):
    """A claim was answered with this job."""

    job: str
    fence: int
    # When, by the clock of the store.
    since: float
    # When the claim was sent.
    asked: float
    suspect: bool = False


class Started(_Entry, frozen=True, kw_only=True, tag="started"):
    """The code of a job has begun."""

    job: str
    fence: int


class Effect(_Entry, frozen=True, kw_only=True, tag="effect"):
    """The code of a job did what it is for."""

    job: str
    fence: int


class Sent(_Entry, frozen=True, kw_only=True, tag="sent"):
    """A verdict is about to be sent."""

    job: str
    fence: int
    # "done", "again", "failed", "released", "cancelled".
    verdict: str


class Answered(_Entry, frozen=True, kw_only=True, tag="answered"):
    """The store has answered a verdict."""

    job: str
    fence: int
    # "done", "again", "failed", "released", "cancelled".
    verdict: str
    # "ok", "already", "lost", "unknown".
    answer: str


class Waited(_Entry, frozen=True, kw_only=True, tag="waited"):
    """A call of the store was answered late; written at the answer."""

    verb: str
    seconds: float


class Fated(_Entry, frozen=True, kw_only=True, tag="fated"):
    """An answer of the store said what became of a job by itself."""

    job: str
    # The event that has to tell of it.
    event: str


class Said(_Entry, frozen=True, kw_only=True, tag="said"):
    """An event was told to the observers of the process."""

    event: str
    job: str


class Passed(_Entry, frozen=True, kw_only=True, tag="passed"):
    """Something that is guarded by a fence took a write."""

    resource: str
    fence: int


class Retried(_Entry, frozen=True, kw_only=True, tag="retried"):
    """Somebody asked for a finished job to run once more."""

    job: str


class Blow(StrEnum):
    """What was done to a process."""

    KILLED = "killed"
    FROZEN = "frozen"
    WOKEN = "woken"
    # A store that does not bring every grant to the disk, and may have forgotten the last ones.
    CRASHED = "crashed"


class Fault(_Entry, frozen=True, kw_only=True, tag="fault"):
    """Somebody did this to a process, by the name that its ledger has."""

    process: str
    blow: Blow


Entry = (
    Tried
    | Accepted
    | Granted
    | Started
    | Effect
    | Sent
    | Answered
    | Waited
    | Fated
    | Said
    | Passed
    | Retried
    | Fault
)

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder[Entry](Entry).decode
