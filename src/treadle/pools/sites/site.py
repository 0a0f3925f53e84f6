"""The seam between what runs a call and where it runs.

A :class:`Site` is where the jobs of a foreman run that have one mode: its loop, threads,
processes. It takes a :class:`Call`, runs the *program* it was built with, and gives what came of
it. Everything that crosses the seam is data, so that it may be another process: the call
goes in, :class:`Ended` comes out, and the :class:`Channel` carries what is said in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from treadle.faults import Fault
from treadle.records import Lease, NewJob, Note

__all__ = ["Call", "Channel", "Ended", "Invoke", "Program", "Site"]


class Call(msgspec.Struct, frozen=True, gc=False):
    """One call to run."""

    # What to run: the name of a task, later of a method.
    name: str
    # Sealed arguments.
    payload: bytes
    # Monotonic time at which it must have ended.
    deadline: float | None = None
    # The lease behind a durable job.
    lease: Lease | None = None
    # Seconds that it may take from when it has begun, where ``deadline`` is known only then.
    timeout: float | None = None
    # Seconds for which the lease is granted each time.
    term: float = 30.0
    # That its code begins has to be told before it does, whatever happens then.
    alone: bool = False


class Ended(msgspec.Struct, frozen=True):
    """What came of a call: a sealed result, or an error."""

    result: bytes | None = None
    error: BaseException | None = None
    # The error as data, where it comes from another process.
    fault: Fault | None = None
    # The process that the code ran in has died.
    crashed: bool = False
    # The arguments could not be read: the code did not run.
    undecodable: bool = False
    # The code ran to its end, but its result cannot travel.
    unsendable: bool = False
    # The code did not run, through no fault of the call: it had no worker.
    unstarted: bool = False
    # Jobs to be pushed with the success of this one.
    follow_ups: tuple[NewJob, ...] = ()
    # A transaction of its code has ended it in the store, with success.
    committed: bool = False


class Channel(Protocol):
    """What running code and the one who runs it say to each other. Never blocks; any thread."""

    @property
    def stopping(self) -> bool:
        """The foreman is asked to stop; long work should find a good place to end."""
        ...

    @property
    def ending(self) -> BaseException | None:
        """Why this attempt has to end, once it has to: cancelled, timed out, lease lost."""
        ...

    def started(self) -> None:
        """The code is about to run; a crash from now on is counted."""
        ...

    def note(self, note: Note) -> None:
        """Replace what is known of the attempt: progress, metadata, checkpoint."""
        ...

    def committing(self, yes: bool) -> None:
        """A transaction is about to end the attempt in the store, or could not."""
        ...


Invoke = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Awaitable[Any]]
"""How a program calls plain functions: directly, or in a thread."""

Program = Callable[[Call, Channel, Invoke], Awaitable[Ended]]
"""What a site runs: decode, inject, call, encode. Never raises, except when it is cancelled."""


class Site(Protocol):
    """Where calls run."""

    @property
    def abandoned(self) -> int:
        """Calls that were asked to end, did not, and were left to themselves."""
        ...

    def run(self, call: Call, channel: Channel) -> Awaitable[Ended]:
        """Run a call to its end.

        Cancelling the awaiting task asks the code to end, in the way of the site.
        """
        ...

    async def aclose(self) -> None:
        """Let go of threads and processes. No call may be running."""
        ...
