"""What stands beside the payload of a job is small, however much a task says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.foreman.kit import record_of
from treadle import CONTEXT, Context, JobState, RetryLater, Skip, Treadle
from treadle.codec.small import MAX_META, MAX_REMARK, encoded_meta, remark
from treadle.errors import InvalidOption, NotEncodable

DEEP: Any = []
for _ in range(2000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({"a": "x" * MAX_META}, "bytes, 16,384 are allowed"),
        ({str(n): n for n in range(5000)}, "are allowed"),
        ({"a": DEEP}, "'a' is not JSON"),
        ({"a": object()}, "'a' is not JSON"),
        ({"a": "\ud800"}, "'a' is not JSON"),
    ],
    ids=["long", "many", "deep", "object", "half"],
)
def test_metadata_are_small_and_json(meta: dict[str, Any], says: str) -> None:
    with pytest.raises(NotEncodable, match=says):
        encoded_meta(meta)
    task = Treadle("memory://").task(name="t")(nothing)
    with pytest.raises(InvalidOption):
        task.options(meta=meta)


async def nothing() -> None: ...


@pytest.mark.parametrize("length", [0, 1, MAX_REMARK, MAX_REMARK + 1, 10 * MAX_REMARK])
def test_a_remark_is_cut(length: int) -> None:
    said = remark("ж" * length)
    assert len(said) == min(length, MAX_REMARK)
    assert said.endswith("…") == (length > MAX_REMARK)


def test_a_remark_can_be_stored() -> None:
    assert remark("a\0\ud800") == "a\\0\\ud800"


async def test_what_a_task_says_is_bounded() -> None:
    refused: list[str] = []
    async with Treadle("memory://") as app:

        @app.task(name="talks")
        async def talks(ctx: Context = CONTEXT) -> None:
            ctx.progress(1, message="m" * 100_000)
            ctx.note(a="x" * (MAX_META - 100))
            with pytest.raises(NotEncodable) as caught:
                ctx.note(b="x" * 200)
            refused.append(str(caught.value))
            raise Skip("s" * 100_000)

        @app.task(name="fails")
        async def fails() -> None:
            raise RetryLater("r" * 100_000, delay=60)

        jobs = [await talks.aenqueue(), await fails.aenqueue()]
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        said = await record_of(app, jobs[0].id)
        assert said.state is JobState.SUCCEEDED
        assert said.note is not None
        assert len(said.note.message) == MAX_REMARK
        assert said.skipped is not None
        assert len(said.skipped) == MAX_REMARK
        assert refused
        failed = await record_of(app, jobs[1].id)
        assert len(failed.reason) <= MAX_REMARK
        assert all(len(str(one.fault)) < 64 << 10 for one in failed.attempts)
