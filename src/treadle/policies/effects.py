"""What a guard asks its driver to do. Each effect names one verb of the host.

The drivers do ``effect.on(host)`` and await the answer or not; that is all in which they
differ.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import msgspec

from treadle.clock import Clock
from treadle.policies.breaker import Outcome, Pass
from treadle.ports import Permit, Ticket
from treadle.records import Ask

__all__ = [
    "Acquire",
    "Admit",
    "Await",
    "AwaitTurn",
    "Effect",
    "Host",
    "Invoke",
    "Look",
    "Moment",
    "Pause",
    "Raised",
    "Release",
    "Report",
    "Restart",
    "Stop",
    "Withdraw",
]


class Raised(msgspec.Struct, frozen=True):
    """An error that the code of the user raised, as a value."""

    error: BaseException


class Moment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What time it is."""

    # Seconds since the call was made.
    elapsed: float
    # Seconds since the Unix epoch.
    now: float


class Host(Protocol):
    """The side of a pool that a call comes from.

    For the synchronous driver the verbs do what they say and give the answer; for the
    asynchronous one they give an awaitable of it.
    """

    clock: Clock

    def admit(self) -> Any:
        """Ask the breaker: the answer of :meth:`Gate.admit`."""
        ...

    def report(self, leave: Pass, outcome: Outcome, retry_after: float | None) -> Any:
        """Tell the breaker, as :meth:`Gate.report`, and act on what changed."""
        ...

    def gate_changed(self, seconds: float) -> Any:
        """Wait until the breaker may answer otherwise, or the seconds have passed."""
        ...

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Any:
        """Take all asks or none: ``Granted`` or ``Wait``."""
        ...

    def turn(self, ticket: Ticket, seconds: float) -> Any:
        """Wait until it may be the turn of a ticket, or the seconds have passed."""
        ...

    def release(self, permit: Permit, unused: bool) -> Any:
        """Free what is held; ``unused``: nothing ran, so what was spent is given back too."""
        ...

    def withdraw(self, ticket: Ticket) -> Any:
        """Leave the line of a limit."""
        ...

    def pause(self, seconds: float) -> Any:
        """Do nothing for a while."""
        ...

    def invoke(self, attempt: int, timeout: float | None) -> Any:
        """Run the call once: what it returns. Raises what it raises, or ``AttemptTimeout``."""
        ...

    def interrupted(self, error: BaseException) -> bool:
        """Whether what ``invoke`` raised is no end of the call, but the caller going away.

        So it is when the caller's own task was cancelled, or Ctrl-C came. A plain answer for
        both drivers.
        """
        ...

    def restart(self) -> Any:
        """Restart the stateful worker."""
        ...

    def stop(self, error: BaseException) -> Any:
        """Stop the pool in good order."""
        ...


class Look(msgspec.Struct, frozen=True):
    """Tell the time: a :class:`Moment`. Answered by the driver, which knows the start."""


class Admit(msgspec.Struct, frozen=True):
    """Ask the breaker for leave to start: a ``Pass``, seconds to wait, or ``None``."""

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.admit()


class Report(msgspec.Struct, frozen=True):
    """Tell the breaker how an attempt ended."""

    leave: Pass
    outcome: Outcome
    retry_after: float | None = None

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.report(self.leave, self.outcome, self.retry_after)


class Await(msgspec.Struct, frozen=True):
    """Wait until the breaker may answer otherwise."""

    seconds: float

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.gate_changed(self.seconds)


class Acquire(msgspec.Struct, frozen=True):
    """Take the limits: ``Granted`` or ``Wait``."""

    asks: tuple[Ask, ...]
    ticket: Ticket | None = None

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.acquire(self.asks, self.ticket)


class AwaitTurn(msgspec.Struct, frozen=True):
    """Wait in the line of a limit; the seconds may be without end."""

    ticket: Ticket
    seconds: float

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.turn(self.ticket, self.seconds)


class Release(msgspec.Struct, frozen=True):
    """Give the limits back."""

    permit: Permit
    unused: bool = False

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.release(self.permit, self.unused)


class Withdraw(msgspec.Struct, frozen=True):
    """Leave the line of a limit."""

    ticket: Ticket

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.withdraw(self.ticket)


class Pause(msgspec.Struct, frozen=True):
    """Do nothing for a while."""

    seconds: float

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.pause(self.seconds)


class Invoke(msgspec.Struct, frozen=True):
    """Run the call once: what it returns, or :class:`Raised`."""

    attempt: int
    timeout: float | None = None

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.invoke(self.attempt, self.timeout)


class Restart(msgspec.Struct, frozen=True):
    """Restart the stateful worker."""

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.restart()


class Stop(msgspec.Struct, frozen=True):
    """Stop the pool in good order."""

    error: BaseException

    def on(self, host: Host) -> Any:
        """Carry it out."""
        return host.stop(self.error)


Effect: TypeAlias = (
    Look
    | Admit
    | Report
    | Await
    | Acquire
    | AwaitTurn
    | Release
    | Withdraw
    | Pause
    | Invoke
    | Restart
    | Stop
)
