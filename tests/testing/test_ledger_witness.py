"""What an app that is witnessed writes into its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from treadle import CONTEXT, Context, Retry, Treadle, backends, backoff
from treadle.ids import SystemIds
from treadle.ports import Claim, Held, Settlement
from treadle.records import NewJob, PushStatus, Session, SessionInfo, Settled
from treadle.testing import ManualClock
from treadle.testing.ledger import Ledger, Witness, check, dump, witnessed
from treadle.testing.ledger.entries import (
    Accepted,
    Answered,
    Entry,
    Granted,
    Said,
    Sent,
    Tried,
    Waited,
    decode,
)
from treadle.verdicts import Done


def written(directory: Path, name: str) -> list[Entry]:
    return [decode(line) for line in (directory / f"{name}.ledger").read_bytes().splitlines()]


async def test_an_app_that_is_witnessed_writes_what_it_does(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "alone")
    app = Treadle("memory://")
    witnessed(app, ledger)

    @app.task(name="child", keep=None)
    async def child(ctx: Context = CONTEXT) -> None:
        ledger.started(ctx)

    @app.task(name="work", keep=None, retry=Retry(1, backoff=backoff.fixed(0, jitter=False)))
    async def work(ctx: Context = CONTEXT) -> None:
        ledger.started(ctx)
        ledger.effect(ctx)
        ctx.enqueue(child)
        if ctx.tries == 0:
            raise ValueError("the first time")

    async with app:
        backend = await app.core.ready()
        await work.aenqueue_many([() for _ in range(10)])
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        store = await dump(backend)
    ledger.close()
    assert len(store.records) == 20
    findings = check(tmp_path, store)
    assert findings.violations == (), findings.report()
    assert findings.figures.accepted == 10
    assert findings.figures.effects == 20
    assert findings.figures.repeats == 0


async def test_after_it_was_undone_nothing_is_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "alone")
    app = Treadle("memory://")
    undo = witnessed(app, ledger)
    undo()

    @app.task(name="work")
    async def work() -> None: ...

    async with app:
        await work.aenqueue()
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
    ledger.close()
    assert written(tmp_path, "alone") == []


class Slow:
    """A store whose calls take as long as they are told."""

    def __init__(self, inner: Any, clock: ManualClock) -> None:
        self._inner = inner
        self._clock = clock
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._inner, name)

        async def call(*args: Any) -> Any:
            answer = await verb(*args)
            self._clock.advance(self.seconds)
            return answer

        return call


async def test_each_step_of_a_job_is_a_line_and_so_is_each_late_answer(tmp_path: Path) -> None:
    clock = ManualClock()
    ids = SystemIds(clock)
    inner = backends.open("memory://", clock=clock, ids=ids)
    slow: Any = Slow(inner, clock)
    ledger = Ledger(tmp_path, "alone", clock)
    store = Witness(slow, ledger, slow=1.0)
    await inner.open()
    job = NewJob(id="job", task="work", payload=b"")
    assert [one.status for one in await store.push([job])] == [PushStatus.CREATED]
    assert [one.status for one in await store.push([job])] == [PushStatus.EXISTS]
    session = await inner.open_session(SessionInfo(name="me"))
    slow.seconds = 2.0
    sent = clock.monotonic()
    [lease] = (await store.claim(Claim(session=session, request=1, limit=1))).leases
    await store.extend(session, [Held(token=lease.token, started=True)], 30.0)
    slow.seconds = 0.5
    end = Settlement(token=lease.token, verdict=Done())
    assert await store.settle([end]) == [Settled.OK]
    assert await store.settle([end]) == [Settled.ALREADY]
    await inner.aclose()
    inner.close()
    ledger.close()
    lines = written(tmp_path, "alone")
    kinds = [type(line) for line in lines]
    assert kinds == [
        *(Tried, Accepted, Tried, Accepted),
        *(Granted, Waited, Waited),
        *(Sent, Answered, Sent, Answered),
    ]
    granted, claim, extend = lines[4:7]
    assert isinstance(granted, Granted)
    assert (granted.fence, granted.asked, granted.at) == (1, sent, sent + 2)
    assert isinstance(claim, Waited)
    assert isinstance(extend, Waited)
    assert (claim.verb, claim.seconds) == ("claim", 2.0)
    assert extend.verb == "extend"
    assert [line.answer for line in lines if isinstance(line, Answered)] == ["ok", "already"]


async def test_a_verdict_that_is_refused_is_written_and_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "alone")
    app = Treadle("memory://")
    witnessed(app, ledger)

    @app.task(name="work")
    async def work(ctx: Context = CONTEXT) -> None:
        if ctx.fence == 1:
            # Given up in the middle, as if the foreman had been silent for too long.
            token = ctx._lease.token
            session = Session(nonce=token.nonce, info=SessionInfo(name="me"))
            backend = await app.core.ready()
            await backend.extend(session, [Held(token=token)], 0.0)

    async with app:
        job = await work.aenqueue()
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
    ledger.close()
    lines = written(tmp_path, "alone")
    answers = [one for one in lines if isinstance(one, Answered)]
    assert [(one.fence, one.answer) for one in answers] == [(1, "lost"), (2, "ok")]
    assert [(one.event, one.job) for one in lines if isinstance(one, Said)] == [
        ("job.lost", job.id)
    ]
