"""What a commit means to those who wait, here and in other processes."""

from __future__ import annotations

from treadle.backends.common import hub
from treadle.events import Event

__all__ = ["Notice"]


class Notice(hub.Notice, frozen=True, array_like=True):
    """Also carries what else processes tell each other."""

    # Facts for observers.
    events: tuple[Event, ...] = ()
    # Who sends this wants to be told of room, of events, of changes of jobs, for some time.
    wants_room: bool = False
    wants_events: bool = False
    # A job, and whether only its end matters.
    wants_jobs: tuple[tuple[str, bool], ...] = ()
