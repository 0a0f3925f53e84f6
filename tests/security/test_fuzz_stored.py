"""Any bytes in the place of what was stored are read, or refused as documented, and soon."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.security.fuzz import fuzzed, mutations, tried
from treadle.backends.common.damage import facts_of, info_of, readable, rule_of
from treadle.backends.common.hub import Notice
from treadle.backends.common.jobrow import Code, Facts, encode
from treadle.backends.sqlite.peers import decoded
from treadle.codec import Codec, KeyRing, Shape, natural_decode, natural_encode
from treadle.codec.exts import pack
from treadle.errors import NewerFormat, NotDecodable, SignatureInvalid
from treadle.events import Event
from treadle.faults import Fault, capture, rebuild
from treadle.foreman.child import Orders
from treadle.foreman.page import Page
from treadle.ports import QueueRule
from treadle.records import (
    Attempt,
    Cause,
    Hold,
    In,
    NewJob,
    Note,
    SessionInfo,
    Spend,
    Token,
    Unique,
)


@dataclass
class Point:
    x: int
    y: Decimal


def work(
    text: str,
    points: list[Point],
    table: dict[UUID, set[Decimal]] | None = None,
    when: datetime | timedelta | None = None,
    anything: Any = None,
) -> list[Point]:
    return points


SHAPE = Shape.of(work, name="work")
NATURAL: list[Any] = [
    None, [1, -2.5, "text", b"bytes"], {"a": {"b": [True]}}, {1, 2}, (1, (2,)), 2**80,
    {(1, "a"): Decimal("1.50")}, Path("a/b"), datetime(2026, 1, 1, tzinfo=UTC),
    [UUID(int=5), timedelta(days=1)], "\ud800",
]  # fmt: skip
BODIES = [
    *map(natural_encode, NATURAL),
    SHAPE.encode(("a", [Point(1, Decimal(2))]), {}),
    SHAPE.encode(("a", []), {"table": {UUID(int=1): {Decimal(1)}}, "when": timedelta(1)}),
    SHAPE.encode(("a", []), {"when": datetime(2026, 1, 1, tzinfo=UTC), "anything": NATURAL}),
    SHAPE.encode_result([Point(1, Decimal(2))] * 3),
]
PLAIN, SIGNED = Codec(), Codec(keys=KeyRing({"k1": b"s" * 32}))
SEALED = [
    codec.seal(body, headers, associated=b"job")
    for codec in (PLAIN, SIGNED)
    for body in BODIES[-3:]
    for headers in ({}, {"tenant": "acme"})
]
FAULT = Fault(type="KeyError", message="'a'", notes=("n",), causes=(Fault(type="OSError"),))
ATTEMPT = Attempt(number=1, cause=Cause.ERROR, holder="h", fault=FAULT)
JOB = NewJob(
    id="id", task="t", payload=b"p", due=In(5.0), unique=Unique(key="u"), tags=("x",),
    asks=(Hold(key="h", slots=1), Spend(key="s", count=1.0, per=1.0)), meta={"a": [1]},
)  # fmt: skip
RECORDS = [
    encode(JOB),
    encode(Facts(note=Note(current=1.0, meta={"a": 1}), fault=FAULT, attempts=(ATTEMPT,))),
    encode(QueueRule(paused=True, reason="r")),
    encode(SessionInfo(name="n", queues=("*",), tasks=("t",))),
    encode((Notice(ready=("q",), changed=("id",)), ())),
    encode((None, (Event(name="job.failed", at=1.0, data={"a": 1}),))),
]
anything = st.one_of(st.binary(max_size=300), mutations([*BODIES, *SEALED, *RECORDS]))


@fuzzed
@given(st.one_of(anything, mutations(BODIES)))
def test_a_body(body: bytes) -> None:
    for read in (SHAPE.decode, SHAPE.decode_result, natural_decode):
        tried(lambda read=read: read(body), NotDecodable)


@fuzzed
@given(st.one_of(anything, mutations(SEALED)))
def test_an_envelope(sealed: bytes) -> None:
    for codec in (PLAIN, SIGNED, Codec(keys=KeyRing({"k1": b"s" * 32}), require_signature=True)):
        opened = tried(
            lambda codec=codec: codec.open(sealed, associated=b"job"),
            NotDecodable,
            NewerFormat,
            SignatureInvalid,
        )
        if opened is not None and codec.require_signature:
            assert sealed in SEALED, "nothing that was changed is opened"


@fuzzed
@given(st.one_of(anything, mutations(RECORDS)))
def test_a_record(data: bytes) -> None:
    job = tried(lambda: readable(data, "id", "default"))
    assert job is None or isinstance(job, NewJob)
    for code in (Code.QUEUED, Code.FAILED):
        assert isinstance(tried(lambda code=code: facts_of(code, data)), Facts)
    tried(lambda: rule_of(data))
    tried(lambda: info_of(data))


@fuzzed
@given(st.one_of(anything, mutations(RECORDS[4:])))
def test_a_datagram_of_another_process(data: bytes) -> None:
    message = tried(lambda: decoded(data))
    assert message.notice is None or isinstance(message.notice, Notice)


def test_a_datagram_that_is_nested_without_end() -> None:
    assert decoded(b"\x92\x94\x90\x90\xc0\xc3" + b"\x91" * 200_000).notice is not None


@fuzzed
@given(mutations([msgspec.json.encode(Orders(target="a:b", page="p", name="n"))]))
def test_the_orders_of_a_child(line: bytes) -> None:
    tried(lambda: msgspec.json.decode(line, type=Orders), msgspec.DecodeError, UnicodeDecodeError)


@fuzzed
@given(st.data())
def test_the_page_of_a_process_that_died(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "page"
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    Page.create(path, 3)
    page = Page(path)
    page.open(7)
    page.lease(Token("job", 1, 7))
    page.started(Token("job", 1, 7))
    whole = path.read_bytes()
    changed = data.draw(mutations([whole]))[: len(whole)].ljust(len(whole), b"\xff")
    path.write_bytes(changed)
    nonce, leases = tried(lambda: Page(path).read())
    assert nonce >= 0
    assert len(leases) <= 3


texts = st.text(max_size=60)


@fuzzed
@given(texts, st.one_of(texts, st.sampled_from(["(" * 5000, "1," * 200_000, "-" * 90_000 + "1"])))
def test_a_stored_error(name: str, message: str) -> None:
    for kind in ("KeyError", "OSError", "UnicodeDecodeError", name):
        fault = Fault(type=kind, message=message, notes=(message[:50],) * 5)
        error = tried(lambda fault=fault: rebuild(fault, [KeyError, OSError, UnicodeDecodeError]))
        assert error is None or type(error).__name__ == kind


def test_the_causes_of_a_stored_error_are_bounded_when_it_is_raised_and_fails_again() -> None:
    fault = Fault(type="OSError", message="m" * 9000)
    for _ in range(500):
        fault = Fault(type="OSError", message="m" * 9000, causes=(fault, fault))
    error = rebuild(fault, [OSError])
    assert error is not None
    again = capture(error)
    assert len(msgspec.msgpack.encode(again)) <= 64 << 10


def test_errors_in_a_ring_are_bounded() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    group = ExceptionGroup("many", [ExceptionGroup("more", [one, other]) for _ in range(100)])
    group.__cause__ = group.exceptions[0]
    for error in (one, group):
        assert len(pack(capture(error))) <= 64 << 10
