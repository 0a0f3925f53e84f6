"""The places of one pool behind policies of one function's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.clock import Clock
from treadle.ids import Ids
from treadle.pools.arguments import arguments_ready
from treadle.pools.crew import Crew
from treadle.pools.future import Future
from treadle.pools.journey import has_policies, travel
from treadle.pools.limiting.calls import CallLimits
from treadle.pools.options import PoolOptions
from treadle.pools.places.place import Place
from treadle.pools.resident import Plan
from treadle.pools.submission import Kind, Submission
from treadle.pools.underway import Underway

__all__ = ["Lane"]


class Lane:
    """Calls of one function on their way to a pool that many functions share.

    Args:
        crew: the pool, without policies.
        name: of the function.
        options: its policies, and the mode of the pool.
    """

    def __init__(self, crew: Crew, name: str, options: PoolOptions) -> None:
        self.options = options
        self.plan = Plan(name=name)
        self.limits: CallLimits | None = None
        if options.limits:
            self.limits = CallLimits(options.limits, None, crew.clock)
        self.has_policies = has_policies(options)
        self.clock: Clock = crew.clock
        self.ids: Ids = crew.ids
        self.underway: Underway = crew.underway
        self.crew = crew

    @property
    def at_once(self) -> bool:
        """Whether a call has ended when it was submitted."""
        return self.crew.at_once

    @property
    def closed(self) -> bool:
        """Whether no place takes calls any more."""
        return self.crew.closed

    def submit(
        self,
        kind: Kind,
        what: str | Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Future[Any]:
        """Have a call carried out; never blocks inside a running event loop.

        Raises:
            WorkerStopped: after the pool was stopped.
        """
        if not self.has_policies:
            return self.crew.submit(kind, what, args, kwargs)
        self.crew.check_open()
        call = Submission(kind, what, args, kwargs)
        arguments_ready(call, lambda _: travel(self, call, None))
        if not call.future.done():
            self.underway.add(call.future)
        return call.future

    def choose(self, key: Any = None) -> Place:
        """The place whose turn it is."""
        return self.crew.choose(key)

    def give(self, call: Submission, key: Any = None, place: Place | None = None) -> Place | None:
        """Give a call to a place; see :meth:`Crew.give`."""
        return self.crew.give(call, key, place)

    def end_soon(self) -> None:
        """Nothing: a function that quits does not end what it shares with others."""
