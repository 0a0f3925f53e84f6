"""A drain whose foreman is killed at a step of the protocol, and another one that goes on."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakKeyDictionary

from treadle.failpoints import NAMES, watched
from treadle.ports import Backend, Claim, Claimed, Held, Settlement
from treadle.records import Renewal, Session, SessionInfo, Settled, Token
from treadle.store import Store
from treadle.telling import Hear, heard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.app import Treadle
    from treadle.core import Core
    from treadle.fates import Fate

__all__ = ["Crash", "Killed", "Step", "crash_of"]

# What happens beside a job, by the clock, is no step that it passes.
_BESIDE = ("extend.", "promote.", "reap.")
_STEPS = tuple(name for name in NAMES if not name.startswith(_BESIDE))
# The code of the task would go on after them.
_BEFORE_CODE = ("claim.decoded", "run.before_handler", "run.inside", "enqueue.")
_MOST = 10
"""Passes of one step at which a test is tried, when it has many jobs."""


class Killed(BaseException):
    """Ends the code of a job whose process is said to be dead."""


class Step(NamedTuple):
    """A pass of a failpoint."""

    point: str
    # From 1.
    nth: int

    def __str__(self) -> str:
        return self.point if self.nth == 1 else f"{self.point} (pass {self.nth})"


class Crash:
    """One run of a test: its drains pass steps, and at one of them their foreman dies.

    The foreman has one place, so that each step is one of one job. When it dies, the store hears
    nothing of it any more, its leases are lost as a supervisor would report it, and another
    foreman drains what is left.

    Args:
        at: where it dies; ``None`` to see which steps there are.
    """

    def __init__(self, at: Step | None = None) -> None:
        self.at = at
        self.dead = False
        # The steps that were passed, in order.
        self.passed: list[Step] = []
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._core: Core | None = None
        self._backend: _Mortal | None = None

    def attach(self, core: Core) -> None:
        """Put it between an app and its store."""
        self._core = core
        _crashes[core] = self
        store = core.store

        def opened(url: str) -> Backend:
            self._backend = _Mortal(self, core._open_backend(url), core.hear)
            return cast("Backend", self._backend)

        core.store = Store(
            store.url,
            opened,
            clock=core.clock,
            ids=core.ids,
            patience=core.patience,
            hear=core.hear,
        )

    def detach(self) -> None:
        """Leave the app alone again."""
        if self._core is not None:
            _crashes.pop(self._core, None)

    async def drain(self, app: Treadle, queues: Sequence[str]) -> None:
        """Run what is due, with a death in between."""
        if not self.dead:
            with ExitStack() as stack:
                for point in _STEPS:
                    stack.enter_context(watched(point, partial(self._pass, point)))
                async with app.foreman(burst=True, concurrency=1, queues=queues) as foreman:
                    await foreman.join()
            if not self.dead:
                return
        backend = self._backend
        assert backend is not None, "a foreman has opened it"
        await backend.bury()
        async with app.foreman(burst=True, queues=queues) as foreman:
            await foreman.join()

    def _pass(self, point: str) -> None:
        with self._lock:
            if not self.dead:
                self._counts[point] += 1
                step = Step(point, self._counts[point])
                if step.nth <= _MOST:
                    self.passed.append(step)
                if point == "claim.decoded" and self._backend is not None:
                    self._backend.begun = True
                self.dead = step == self.at
            dead = self.dead
        if dead and point.startswith(_BEFORE_CODE):
            raise Killed(f"the process was killed at {self.at}")


_crashes: WeakKeyDictionary[Core, Crash] = WeakKeyDictionary()


def crash_of(core: Core) -> Crash | None:
    """What is to happen to the foremen of drains of this app, if anything."""
    return _crashes.get(core)


class _Mortal:
    """The store as a foreman sees it that will die: then nothing of what it says arrives."""

    def __init__(self, crash: Crash, inner: Backend, hear: Hear) -> None:
        self._crash = crash
        self._hear = hear
        self._inner = inner
        self._buried = False
        self._session: Session | None = None
        # What it was given and has not settled; whether the last of them has begun.
        self._held: dict[Token, None] = {}
        self.begun = False

    @property
    def _dead(self) -> bool:
        return self._crash.dead and not self._buried

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        self._session = await self._inner.open_session(info, nonce)
        return self._session

    async def close_session(self, session: Session) -> Sequence[Fate]:
        return () if self._dead else await self._inner.close_session(session)

    async def push(self, jobs: Sequence[Any]) -> Any:
        if self._dead:
            raise Killed("the process is dead")
        return await self._inner.push(jobs)

    async def claim(self, ask: Claim) -> Claimed:
        if self._dead:
            return Claimed()
        claimed = await self._inner.claim(ask)
        if claimed.leases:
            self.begun = False
            self._held.update(dict.fromkeys(lease.token for lease in claimed.leases))
        return claimed

    async def wait(self, queues: Any, timeout: float, exclude: Any = ()) -> Sequence[Fate]:
        return () if self._dead else await self._inner.wait(queues, timeout, exclude)

    async def extend(self, session: Session, held: Sequence[Held], lease: float) -> Any:
        if self._dead:
            return [Renewal.LOST] * len(held)
        return await self._inner.extend(session, held, lease)

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        if self._dead:
            return [Settled.LOST] * len(ends)
        answers = await self._inner.settle(ends)
        for end in ends:
            self._held.pop(end.token, None)
        return answers

    async def bury(self) -> None:
        """Report the death, as a supervisor does, and serve the living."""
        if self._buried or self._session is None:
            return
        tokens = list(self._held)
        # It had one place: all but the last of them have begun.
        held = [Held(token=one, started=self.begun or one is not tokens[-1]) for one in tokens]
        inner = heard(self._inner, self._hear)
        await inner.extend(self._session, held, 0.0)
        await inner.close_session(self._session)
        self._buried = True
