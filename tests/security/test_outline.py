"""Bodies of a few large values are not counted: they cost nothing, and nothing else is let pass."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.security.cost import cost_of
from treadle.codec import natural_encode, outline
from treadle.codec.misfit import Misfit

# Which a body of a few dozen values reaches.
SMALL: dict[str, Any] = {"MAX_CONTAINERS": 20, "MAX_EXTENSIONS": 8, "_MANY": 6, "_FEW": 16}

_scalars = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=40),
    # Data of extensions, which look like lists, maps and extensions when they are counted.
    st.sampled_from([b"\xc9", b"\x90", b"\x80"]).map(lambda byte: byte * 300),
    st.text(max_size=40),
    st.builds(msgspec.msgpack.Ext, st.sampled_from((4, 8, 11)), st.binary(max_size=20)),
)
_values: st.SearchStrategy[object] = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=30),
        st.dictionaries(st.text(max_size=3), inner, max_size=20),
        st.builds(
            msgspec.msgpack.Ext,
            st.sampled_from((1, 2, 3, 13, 14)),
            st.lists(inner, max_size=5).map(msgspec.msgpack.encode),
        ),
    ),
    max_leaves=40,
)


def _large_map(pairs: list[tuple[object, object]]) -> bytes:
    """A map as large ones are written, with keys that Python's would not take."""
    encode = msgspec.msgpack.encode
    body = b"".join(encode(key) + encode(value) for key, value in pairs)
    return b"\xde" + len(pairs).to_bytes(2, "big") + body


def _cut(body: bytes, start: int, size: int, instead: bytes) -> bytes:
    start %= len(body) + 1
    return body[:start] + instead + body[start + size :]


_bodies = st.one_of(
    _values.map(msgspec.msgpack.encode),
    st.lists(st.tuples(_values, _values), max_size=12).map(_large_map),
    st.binary(max_size=60),
    st.lists(st.sampled_from((0x81, 0x91, 0xDE, 0xC7, 0xD4, 1, 0)), max_size=80).map(bytes),
)
_damaged = st.builds(_cut, _bodies, st.integers(0, 2000), st.integers(0, 9), st.binary(max_size=6))


def _refused(body: bytes) -> str | None:
    try:
        outline.weigh(body)
    except Misfit as misfit:
        return str(misfit)
    return None


@given(body=st.one_of(_bodies, _damaged))
def test_the_short_walk_decides_as_the_counts_do(body: bytes) -> None:
    with patch.multiple(outline, **SMALL):
        short = _refused(body)
        with patch.object(outline, "_FEW", 0):
            assert short == _refused(body)
        if short is not None:
            event("refused")
        elif outline._is_few(body):
            event("few")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(natural_encode({"x": bytes(range(256)) * 4000}), id="bytes"),
        pytest.param(natural_encode([b"\x90\xc9" * 250_000] * 2), id="bytes like lists"),
        pytest.param(natural_encode({"x": "ж" * 500_000, "y": 1}), id="text"),
    ],
)
def test_a_few_large_values_are_not_counted(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(*_: object) -> bool:
        raise AssertionError("the bytes were counted")

    monkeypatch.setattr(outline, "_more", counted)
    assert cost_of(lambda: outline.weigh(body), memory=False).error is None
