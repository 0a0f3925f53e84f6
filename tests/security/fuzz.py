"""How the parsers are tried: any input gives a value or a documented error, soon.

Set ``FUZZ_EXAMPLES`` to the number of inputs for each, to try for longer than an ordinary run.
"""

from __future__ import annotations

import os
import random  # noqa: TID251  hypothesis draws the seed
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.security.cost import cost_of

__all__ = ["EXAMPLES", "fuzzed", "hostile_text", "mutations", "tried"]

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def tried(call: Callable[[], Any], *allowed: type[Exception]) -> Any:
    """What a call gives, or ``None`` after an error that is allowed.

    It fails by an error of another class, and when it takes longer than it may.
    """
    given: list[Any] = []
    cost = cost_of(lambda: given.append(call()), memory=False)
    if cost.error is not None:
        if not isinstance(cost.error, allowed):
            raise cost.error
        str(cost.error)
    cost.check()
    return given[0] if given else None


_SIGNS = "{}[]()<>%$#@!&*?+=~^|\\/.,:;'\"`-_ \t\r\n\0\x1b\x7f\x9b\u202e\u2028\ufeff\ud800😀ßİ١"
_WORDS = [
    "../", "..\\", "%00", "%s%n", "${x}", "{0.__class__}", "';--", "NaN", "inf", "-1", "1e999",
    "9" * 5000, "0x10", "://", "@", "a" * 5000, "[::1", "None", "*", "1_000", "٣", "🙂" * 500,
]  # fmt: skip

hostile_text = st.one_of(
    st.text(),
    st.text(alphabet=_SIGNS, max_size=40),
    st.lists(st.one_of(st.sampled_from(_WORDS), st.text(max_size=8)), max_size=6).map("".join),
)
"""Text as people, programs and attackers write it."""


@st.composite
def mutations(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """Bytes that were valid, with a few of them changed, left out, doubled or cut off."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    body = bytearray(draw(st.sampled_from(samples)))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(5):
            case 0 if body:
                body[at % len(body)] ^= 1 << chance.randrange(8)
            case 1 if body:
                body[at % len(body)] = chance.choice(b"\x80\x90\xa0\xc0\xc1\xc7\xd4\xdd\xdf\xff")
            case 2:
                body[at:at] = chance.randbytes(chance.randint(1, 8))
            case 3:
                body[at:at] = body[at : at + 40] * chance.randint(1, 20)
            case _:
                del body[at : at + chance.randint(1, 20)]
    return bytes(body)
