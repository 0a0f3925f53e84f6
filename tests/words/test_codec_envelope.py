"""Envelopes: bounds, headers, signatures, pickle by choice, encryption."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from treadle.codec import Codec, Envelope, KeyRing, Shape
from treadle.codec.envelope import FORMAT, MAX_HEADERS, MSGPACK, PICKLE
from treadle.errors import (
    InvalidOption,
    NewerFormat,
    NotDecodable,
    NotEncodable,
    PayloadError,
    PayloadTooLarge,
    SignatureInvalid,
)

OLD = b"an old secret of enough bytes"
NEW = b"the new secret of enough bytes"
BODY = b"\x81\xa1a\x01"


def test_a_body_comes_back_with_its_headers() -> None:
    codec = Codec()
    assert codec.open(codec.seal(BODY)) == Envelope(FORMAT, MSGPACK, "", {}, BODY)
    headers = {"traceparent": "00-é", "tenant": "acme"}
    opened = codec.open(codec.seal(BODY, headers))
    assert (opened.headers, opened.body, opened.key) == (headers, BODY, "")
    assert codec.open(codec.seal(b"")).body == b""


def test_an_envelope_cannot_be_changed() -> None:
    opened = Codec().open(Codec().seal(BODY))
    with pytest.raises((AttributeError, FrozenInstanceError)):
        opened.body = b""  # type: ignore[misc]
    with pytest.raises(TypeError):
        opened.headers["a"] = "b"  # type: ignore[index]


def test_the_bound_counts_sealed_bytes() -> None:
    size = len(Codec().seal(BODY))
    assert len(Codec(max_payload=size).seal(BODY)) == size
    with pytest.raises(PayloadTooLarge) as caught:
        Codec(max_payload=size - 1).seal(BODY)
    assert (caught.value.size, caught.value.limit) == (size, size - 1)
    with pytest.raises(PayloadTooLarge, match=r"has 1,048,577 bytes, 1,048,576 are allowed; store"):
        Codec().seal(b"x" * ((1 << 20) - len(Codec().seal(b"")) + 1))


def test_headers_are_small_texts() -> None:
    codec = Codec()
    room = MAX_HEADERS - len(b"\x81\xa1a\xda\x00\x00")
    assert codec.open(codec.seal(BODY, {"a": "x" * room})).headers == {"a": "x" * room}
    with pytest.raises(PayloadTooLarge, match=r"headers have 4,097 bytes, 4,096 are allowed"):
        codec.seal(BODY, {"a": "x" * (room + 1)})
    with pytest.raises(NotEncodable, match="header 'a' must be a str with a str, not int"):
        codec.seal(BODY, {"a": 1})  # type: ignore[dict-item]
    with pytest.raises(NotEncodable, match="no valid text"):
        codec.seal(BODY, {"a": "\udcff"})


@pytest.mark.parametrize(
    "sealed", [b"", b"\xc1", b"not an envelope", b"\xc1\x00\x01\0\0\0\0", BODY]
)
def test_foreign_bytes_are_no_envelope(sealed: bytes) -> None:
    with pytest.raises(NotDecodable, match="not an envelope") as caught:
        Codec().open(sealed)
    assert not isinstance(caught.value, NewerFormat)


def test_a_newer_format_is_told_from_damage() -> None:
    sealed = bytearray(Codec().seal(BODY))
    sealed[1] = FORMAT + 1
    with pytest.raises(NewerFormat, match="upgrade this process") as caught:
        Codec().open(bytes(sealed))
    assert (caught.value.version, caught.value.known) == (FORMAT + 1, FORMAT)
    assert isinstance(caught.value, NotDecodable)


def test_an_envelope_that_is_cut_off_is_not_decodable() -> None:
    sealed = Codec(keys=KeyRing({"k": NEW})).seal(BODY, {"a": "b"})
    reader = Codec(keys=KeyRing({"k": NEW}))
    for end in range(len(sealed)):
        with pytest.raises(PayloadError):
            reader.open(sealed[:end])


# ---------------------------------------------------------------- signatures


def test_every_flipped_bit_of_a_signed_payload_is_refused() -> None:
    codec = Codec(keys=KeyRing({"k": NEW}), require_signature=True)
    sealed = codec.seal(BODY, {"tenant": "acme"}, associated=b"task:job")
    assert codec.open(sealed, associated=b"task:job").key == "k"
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PayloadError):
            codec.open(bytes(changed), associated=b"task:job")


def test_a_signature_is_bound_to_the_job() -> None:
    codec = Codec(keys=KeyRing({"k": NEW}))
    sealed = codec.seal(BODY, associated=b"pay:1")
    for other in (b"pay:2", b"", b"pay:1\0"):
        with pytest.raises(SignatureInvalid, match="belongs to another job"):
            codec.open(sealed, associated=other)


def test_where_the_parts_are_cut_cannot_be_moved() -> None:
    codec = Codec(keys=KeyRing({"k": NEW}))
    sealed = codec.seal(BODY + b"x", associated=b"y")
    with pytest.raises(SignatureInvalid):
        codec.open(sealed[:-33] + sealed[-32:], associated=b"xy")


def test_keys_are_rotated_without_losing_jobs() -> None:
    before = Codec(keys=KeyRing({"2025": OLD}), require_signature=True)
    after = Codec(keys=KeyRing({"2026": NEW, "2025": OLD}), require_signature=True)
    assert after.open(before.seal(BODY)).key == "2025"
    assert after.open(after.seal(BODY)).key == "2026"
    with pytest.raises(
        SignatureInvalid, match=r"key '2026', which is not in the ring; it has 2025"
    ):
        before.open(after.seal(BODY))


def test_unsigned_payloads_are_taken_only_where_no_signature_is_required() -> None:
    unsigned = Codec().seal(BODY)
    assert Codec(keys=KeyRing({"k": NEW})).open(unsigned).key == ""
    with pytest.raises(SignatureInvalid, match="not signed"):
        Codec(keys=KeyRing({"k": NEW}), require_signature=True).open(unsigned)


def test_a_signed_payload_needs_the_ring() -> None:
    with pytest.raises(SignatureInvalid, match="no key ring"):
        Codec().open(Codec(keys=KeyRing({"k": NEW})).seal(BODY))


def test_nothing_is_decoded_before_the_signature_is_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sealed = Codec(keys=KeyRing({"k": OLD})).seal(BODY, {"a": "b"})
    monkeypatch.setattr("treadle.codec.envelope.read", lambda _: pytest.fail("decoded"))
    with pytest.raises(SignatureInvalid):
        Codec(keys=KeyRing({"k": NEW})).open(sealed)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "needs a key"),
        ({"k": b"short"}, "5 bytes, 16 are"),
        ({"": NEW}, "id"),
        ({"é": NEW}, "id"),
    ],
)
def test_a_ring_takes_keys_that_are_worth_it(keys: dict[str, bytes], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        KeyRing(keys)


def test_secrets_are_not_shown() -> None:
    ring = KeyRing({"k": "a text is fine for a secret"})
    assert repr(ring) == "KeyRing(k)"


@pytest.mark.parametrize("options", [{"pickle": True}, {"require_signature": True}])
def test_pickle_and_required_signatures_need_keys(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="needs keys"):
        Codec(**options)


def test_a_bound_must_be_positive() -> None:
    with pytest.raises(InvalidOption, match="max_payload=0"):
        Codec(max_payload=0)


# ---------------------------------------------------------------- pickle


class Opaque:
    def __init__(self, value: int) -> None:
        self.value = value


def task(thing: Opaque, n: int = 1) -> Opaque: ...


class Canary:
    """Leaves a file behind when somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickle_is_for_what_has_no_other_encoding() -> None:
    codec = Codec(keys=KeyRing({"k": NEW}), pickle=True)
    shape = Shape.of(task, name="t", pickle=True)
    opened = codec.open(codec.seal(shape.encode((Opaque(3),), {"n": 2})))
    assert opened.codec == PICKLE
    _, kwargs = shape.decode(opened.body)
    assert (kwargs["thing"].value, kwargs["n"]) == (3, 2)
    result = codec.open(codec.seal(shape.encode_result(Opaque(4)))).body
    assert shape.decode_result(result).value == 4

    def plain(n: int) -> None: ...

    shape = Shape.of(plain, name="t", pickle=True)
    assert codec.open(codec.seal(shape.encode((1,), {}))).codec == MSGPACK
    with pytest.raises(NotEncodable, match="expected int"):
        shape.encode(("1",), {})  # wrong stays wrong
    with pytest.raises(NotEncodable, match="not even pickle"):
        Shape.of(task, name="t", pickle=True).encode((lambda: 1,), {})


def test_a_codec_without_pickle_neither_seals_nor_opens_it() -> None:
    ring = KeyRing({"k": NEW})
    body = Shape.of(task, name="t", pickle=True).encode((Opaque(3),), {})
    with pytest.raises(NotEncodable, match="without pickle=True"):
        Codec(keys=ring).seal(body)
    sealed = Codec(keys=ring, pickle=True).seal(body)
    with pytest.raises(SignatureInvalid, match="pickle=True"):
        Codec(keys=ring).open(sealed)


def test_forged_pickles_are_never_loaded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = pickle.dumps(Canary(canary))
    codec = Codec(keys=KeyRing({"k": NEW}), pickle=True)
    shape = Shape.of(task, name="t", pickle=True)
    forged = [
        b"\xc1\x01\x02\x00\x00\x00\x00" + evil,
        b"\xc1\x01\x02\x00\x01\x00\x00k" + evil + b"\0" * 32,
        b"\xc1\x01\x01\x00\x00\x00\x00" + evil,
        evil,
    ]
    for sealed in forged:
        with pytest.raises(PayloadError):
            shape.decode(codec.open(sealed).body)
    for body in (evil, b"\x81\xa5thing" + evil):
        with pytest.raises(NotDecodable):
            shape.decode(body)
        with pytest.raises(NotDecodable):
            shape.decode_result(body)
    assert not canary.exists()


def test_a_pickle_needs_its_signature_also_where_others_need_none() -> None:
    codec = Codec(keys=KeyRing({"k": NEW}), pickle=True, require_signature=False)
    assert codec.open(Codec().seal(BODY)).key == ""
    with pytest.raises(SignatureInvalid, match="only when it is signed"):
        codec.open(b"\xc1\x01\x02\x00\x00\x00\x00" + pickle.dumps(1))


def test_a_task_without_pickle_does_not_load_what_another_one_pickled() -> None:
    body = Shape.of(task, name="t", pickle=True).encode((Opaque(3),), {})
    with pytest.raises(NotDecodable, match="does not take pickles"):
        Shape.of(task, name="t").decode(body)


# ---------------------------------------------------------------- encryption


class Xor:
    """Not a cipher; it shows what one is given."""

    id = 7

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def encrypt(self, body: bytes, associated: bytes) -> bytes:
        self.seen.append(associated)
        return bytes(byte ^ 0x55 for byte in body)

    def decrypt(self, body: bytes, associated: bytes) -> bytes:
        if associated != self.seen[-1]:
            raise ValueError("other associated data")
        return bytes(byte ^ 0x55 for byte in body)


@pytest.mark.parametrize("keys", [None, KeyRing({"k": NEW})])
def test_bodies_are_encrypted_by_a_cipher(keys: KeyRing | None) -> None:
    codec = Codec(cipher=Xor(), keys=keys)
    sealed = codec.seal(BODY, {"a": "b"}, associated=b"job")
    assert BODY not in sealed
    assert codec.open(sealed, associated=b"job").body == BODY
    with pytest.raises(PayloadError):
        codec.open(sealed, associated=b"other")
    with pytest.raises(NotDecodable, match="cipher 7, which is not configured"):
        Codec(keys=keys).open(sealed, associated=b"job")
