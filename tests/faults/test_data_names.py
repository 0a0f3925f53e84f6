"""Names and sizes that nobody expects: refused before anything is written, or kept as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from treadle import Treadle
from treadle.backends import open as open_backend
from treadle.errors import InvalidOption, PayloadTooLarge, SchemaMismatch
from treadle.failpoints import watched
from treadle.ids import SystemIds
from treadle.ports import Backend, Claim, Query, Settlement, Write
from treadle.records import (
    After,
    Cause,
    Hold,
    JobState,
    NewJob,
    PushStatus,
    SessionInfo,
    Settled,
    Spend,
    Unique,
)
from treadle.testing import ManualClock
from treadle.verdicts import Done

_ids = SystemIds()

TEXTS = {
    "quotes": "'; DROP TABLE treadle_job; --",
    "double_quotes": 'a"b""c',
    "nul": "a\0b",
    "only_nul": "\0",
    "newlines": "a\r\nb\n",
    "escapes": "\x1b[31mred\x1b[0m\x07",
    "wildcards": "%_*?[a-z]{}",
    "place_holders": "?1 :name $1 @x",
    "json": '"],["',
    "cyrillic_a": "pаy",
    "latin_a": "pay",
    "composed": "é",
    "decomposed": "e\u0301",
    "upper": "PAY",
    "right_to_left": "a\u202eb\u200b",
    "beyond_the_first_plane": "😀" * 3,
    "largest": "\U0010ffff",
    "spaces": "  ",
    "long": "x" * 10_000,
    "prefix_of_a_line": "limit:key:queue:",
}
NO_QUEUES = [
    *(text for name, text in TEXTS.items() if name not in ("latin_a", "upper", "prefix_of_a_line")),
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "a/b",
    "x" * 129,
    "x" * (64 * 1024 + 1),
]


@pytest.fixture(params=["memory", "sqlite"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """A store of each kind."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    made = open_backend(url, clock=ManualClock(), ids=_ids)
    await made.open()
    yield made
    await made.aclose()
    made.close()


def job(**fields: Any) -> NewJob:
    return NewJob(**{"id": _ids.new(), "task": "t", "payload": b"p", **fields})


@pytest.mark.parametrize("name", NO_QUEUES, ids=lambda name: ascii(name)[:20])
async def test_what_is_no_name_of_a_queue_is_refused(backend: Backend, name: str) -> None:
    """Before anything is written, also when others are pushed with it."""
    with pytest.raises(InvalidOption, match="queue"):
        await backend.push([job(), job(queue=name)])
    assert (await backend.find(Query())).records == ()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_texts_of_all_kinds_are_kept_as_they_are(backend: Backend, text: str) -> None:
    """As task, key, limit, flow, tag, meta, message: stored, found and shown unchanged."""
    one = job(
        task=text,
        key=text,
        unique=Unique(key=text),
        asks=(Hold(key=text, slots=1), Spend(key=text, count=5, per=1.0)),
        flow=text,
        tags=(text,),
        meta={text: text},
    )
    await backend.push([one])
    for query in (
        Query(key=text),
        Query(unique=text),
        Query(flow=text),
        Query(tags=(text,)),
        Query(ids=(one.id,)),
    ):
        [record] = (await backend.find(query)).records
        assert record.spec == one
    who = await backend.open_session(SessionInfo(name=text))
    claimed = await backend.claim(Claim(session=who, request=1, limit=5))
    assert [lease.spec for lease in claimed.leases] == [one]
    [record] = (await backend.find(Query(ids=(one.id,)))).records
    assert record.holder == text
    ends = [Settlement(token=claimed.leases[0].token, verdict=Done(result=text.encode()))]
    assert await backend.settle(ends) == [Settled.OK]
    assert await backend.write([Write(key=f"own:{text}", value=b"v")])
    assert (await backend.read([f"own:{text}"]))[f"own:{text}"].value == b"v"


async def test_texts_that_look_alike_are_different(backend: Backend) -> None:
    """Each has its own unique key, its own line and its own cell."""
    made = [job(unique=Unique(key=text), key=text) for text in TEXTS.values()]
    answers = await backend.push(made)
    assert {answer.status for answer in answers} == {PushStatus.CREATED}
    who = await backend.open_session(SessionInfo(name="one"))
    claimed = await backend.claim(Claim(session=who, request=1, limit=100))
    assert len(claimed.leases) == len(made)
    for number, text in enumerate(TEXTS.values()):
        await backend.write([Write(key=f"own:{text}", value=b"%d" % number)])
    found = await backend.read([f"own:{text}" for text in TEXTS.values()])
    assert [found[f"own:{text}"].value for text in TEXTS.values()] == [
        b"%d" % number for number in range(len(TEXTS))
    ]


@pytest.mark.parametrize("text", [text for text in TEXTS.values() if "\0" not in text], ids=ascii)
async def test_ids_of_all_kinds_are_known_again(backend: Backend, text: str) -> None:
    """Whoever gives ids of their own may give any."""
    one, other = job(id=text), job(after=After(ids=(text,)))
    assert [answer.status for answer in await backend.push([one, other])] == [
        PushStatus.CREATED,
        PushStatus.CREATED,
    ]
    assert [answer.status for answer in await backend.push([one])] == [PushStatus.EXISTS]
    who = await backend.open_session(SessionInfo(name="one"))
    claimed = await backend.claim(Claim(session=who, request=1, limit=5))
    ends = [Settlement(token=lease.token, verdict=Done()) for lease in claimed.leases]
    assert await backend.settle(ends) == [Settled.OK]
    page = await backend.find(Query(ids=(text, other.id)))
    found = {record.id: record for record in page.records}
    assert found[text].state is JobState.SUCCEEDED
    assert found[other.id].state is JobState.QUEUED


async def test_an_id_that_is_there_and_cannot_be_found_stops_nobody(tmp_path: Path) -> None:
    """The database looks ids up in a list, where a NUL ends them. Told, and not tried for ever."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    made = open_backend(url, clock=ManualClock(), ids=_ids)
    await made.open()
    try:
        lost = job(id="a\0b")
        await made.push([lost])
        told = await asyncio.gather(made.push([lost]), made.push([job()]), return_exceptions=True)
        assert isinstance(told[0], SchemaMismatch)
        assert "damaged" in str(told[0])
        assert not isinstance(told[1], BaseException)
        assert [answer.status for answer in told[1]] == [PushStatus.CREATED]
    finally:
        await made.aclose()
        made.close()


# ------------------------------------------------------------- through an app


@pytest.fixture(params=["memory", "sqlite"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Treadle]:
    """An app on a store of each kind."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    async with Treadle(url) as made:
        yield made


@pytest.mark.parametrize("name", NO_QUEUES, ids=lambda name: ascii(name)[:20])
async def test_an_enqueue_into_no_queue_is_refused(app: Treadle, name: str) -> None:
    """Told at the call, and nothing was sent."""

    @app.task(name="task")
    async def task() -> None: ...

    sent: list[str] = []
    with (
        watched("enqueue.before_send", lambda: sent.append(name)),
        pytest.raises(InvalidOption, match="queue"),
    ):
        await task.options(queue=name).aenqueue()
    assert sent == []


async def test_a_hundred_megabytes_are_refused_before_anything_is_sent(app: Treadle) -> None:
    """Alone, among others, and as a result."""

    @app.task(name="take")
    async def take(data: bytes) -> None: ...

    @app.task(name="give")
    async def give() -> bytes:
        return bytes(100 << 20)

    sent: list[int] = []
    with watched("enqueue.before_send", lambda: sent.append(1)):
        with pytest.raises(PayloadTooLarge) as refused:
            await take.aenqueue(bytes(100 << 20))
        with pytest.raises(PayloadTooLarge):
            await take.aenqueue_many([(b"small",), (bytes(100 << 20),)])
    assert refused.value.size > refused.value.limit
    assert sent == []
    job = await give.aenqueue()
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    record = await job.arecord()
    assert (record.state, record.cause) == (JobState.FAILED, Cause.RESULT)
    assert record.result is None
