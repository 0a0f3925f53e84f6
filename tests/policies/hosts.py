"""Hosts for guards: a script says how each effect ends, a trace what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.policies.kit import Dice
from treadle.policies import Breaker, Gate, Retry, Timeout
from treadle.policies.breaker import BreakerChange, Outcome, Pass
from treadle.policies.drive import run_async, run_sync
from treadle.policies.guard import Policies, guard
from treadle.ports import Granted, Permit, Ticket, Wait
from treadle.records import Ask, Hold
from treadle.testing.clock import ManualClock

TASK = "shop.charge"
ASKS = (Hold(key="slots", slots=2),)


class Interrupted(BaseException):
    """The caller goes away."""


class Bench:
    """What happens to a call, and what its guard does about it.

    Args:
        ends: what the attempts end with, in order: values, or errors to raise. The last one
            again and again.
        waits: how long the limit is not granted, each time it is asked; then it is.
        breaker: what holds it back.
        takes: seconds that an attempt takes.
        fails: effects that raise, by name.
    """

    def __init__(
        self,
        *ends: Any,
        waits: Iterable[float] = (),
        breaker: Breaker | None = None,
        takes: float = 0.0,
        fails: dict[str, BaseException] | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.gate = Gate(breaker or Breaker(1000), self.clock)
        self.trace: list[str] = []
        self.changes: list[BreakerChange] = []
        self.on: dict[str, Callable[[], object]] = {}
        self._ends = list(ends)
        self._waits = list(waits)
        self._takes = takes
        self._fails = fails or {}

    def did(self, name: str, detail: str = "") -> None:
        self.trace.append(f"{name} {detail}".strip())
        if name in self.on:
            self.on.pop(name)()
        if name in self._fails:
            raise self._fails[name]

    def admit(self) -> Pass | float | None:
        answer = self.gate.admit()
        shown = "probe" if isinstance(answer, Pass) and answer.probe else "pass"
        self.did("admit", shown if isinstance(answer, Pass) else f"{answer}")
        return answer

    def report(self, leave: Pass, outcome: Outcome, retry_after: float | None) -> None:
        change = self.gate.report(leave, outcome, retry_after)
        if change is not None:
            self.changes.append(change)
        self.did("report", f"{outcome} {change or ''}".strip())

    def gate_changed(self, seconds: float) -> None:
        self.did("await", f"{seconds:g}")
        self.clock.advance(min(seconds, 3600))

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        self.did("acquire", ticket.id if ticket else "")
        if self._waits:
            return Wait(delay=self._waits.pop(0), ticket=Ticket(id="T"))
        return Granted(permit=Permit(id="P", asks=asks, who="me"))

    def turn(self, ticket: Ticket, seconds: float) -> None:
        self.did("turn", f"{ticket.id} {seconds:g}")
        self.clock.advance(min(seconds, 3600))

    def release(self, permit: Permit, unused: bool) -> None:
        self.did("release", "unused" if unused else "")

    def withdraw(self, ticket: Ticket) -> None:
        self.did("withdraw", ticket.id)

    def pause(self, seconds: float) -> None:
        self.did("pause", f"{seconds:g}")
        self.clock.advance(seconds)

    def invoke(self, attempt: int, timeout: float | None) -> Any:
        self.did("invoke", f"{attempt}" if timeout is None else f"{attempt} {timeout:g}")
        self.clock.advance(self._takes)
        end = self._ends.pop(0) if len(self._ends) > 1 else self._ends[0]
        if isinstance(end, BaseException):
            raise end
        return end

    def interrupted(self, error: BaseException) -> bool:
        return isinstance(error, Interrupted)

    def restart(self) -> None:
        self.did("restart")

    def stop(self, error: BaseException) -> None:
        self.did("stop", type(error).__name__)


class Awaitable:
    """The same host for the asynchronous driver."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.clock = bench.clock
        self.interrupted = bench.interrupted

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(self._bench, name)

        async def call(*args: Any) -> Any:
            return verb(*args)

        return call


def policies(
    retry: Retry | int = 0,
    timeout: Timeout | None = None,
    *,
    asks: tuple[Ask, ...] = (),
    breaker: bool = False,
) -> Policies:
    return Policies(
        task=TASK,
        retry=Retry.of(retry),
        timeout=timeout or Timeout(),
        asks=asks,
        breaker=breaker,
    )


def run(what: Policies, bench: Bench) -> Any:
    return run_sync(guard(what, Dice()), bench)


async def arun(what: Policies, bench: Bench) -> Any:
    return await run_async(guard(what, Dice()), Awaitable(bench))
