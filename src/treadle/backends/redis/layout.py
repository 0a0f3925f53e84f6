"""What scripts and this side both know of a stored job; ``lua/record.lua`` draws it."""

from __future__ import annotations

import struct

from treadle.records import JobState, PushStatus

__all__ = [
    "APART",
    "ASKS",
    "BODY",
    "CANCEL",
    "COMMON",
    "EXTRA",
    "FACTS",
    "GROWN",
    "INLINE",
    "KEYED",
    "LETTERS",
    "NONE",
    "ONCE",
    "ORDERED",
    "OWN",
    "PUSHES",
    "REPORTED",
    "STATES",
    "SUSPECT",
    "TOKEN",
    "TOMB",
    "UNIQUE",
]

STATES: tuple[JobState, ...] = tuple(JobState)
"""The state by its number; scripts count in the order of the enum."""

LETTERS = {
    JobState.WAITING: "W",
    JobState.SCHEDULED: "S",
    JobState.QUEUED: "QX",
    JobState.RUNNING: "R",
    JobState.SUCCEEDED: "D",
    JobState.FAILED: "F",
    JobState.CANCELLED: "C",
}
"""Names of the indexes that have the jobs of a state."""

PUSHES: tuple[PushStatus, ...] = tuple(PushStatus)
"""The answer to a push by its number."""

NONE = float("-inf")
"""The instant that there is not."""

INLINE = 1024
"""Bytes of a payload above which it is kept apart from its record."""

GROWN, EXTRA, KEYED, ASKS, UNIQUE, ORDERED, ONCE, SUSPECT = 1, 2, 4, 8, 16, 32, 64, 128
CANCEL, REPORTED, FACTS, APART = 256, 512, 4096, 8192

COMMON = struct.Struct("<BHbIHd")
"""State, flags, priority, low and high part of the arrival, created."""

OWN = struct.Struct("<II8sHHHddddddI8sHIH")
"""What follows in the record of a job that was claimed or is special in some way."""

TOKEN = struct.Struct("<IQ")
"""Fence and nonce."""

TOMB = struct.Struct("<BBI8sd")
"""Answer to a repeated push, state or 255, fence, nonce, instant; then the id of another job."""

BODY = struct.Struct("<BH")
"""Number of fields of a job, and the length of its task and payload, which come next."""
