"""Futures by themselves: ended once, told to everybody, safe in threads and loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import pickle
import random  # noqa: TID251 - seeded below
import threading
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from treadle import CallCancelled, Future, InvalidCall, NotEncodable, WaitTimeout, wrap_future
from treadle.errors import Blocking
from treadle.testing.clock import eventually


def failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.end(None, error)
    return future


def ended(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.end(value)
    return future


class TestState:
    def test_a_value(self) -> None:
        future: Future[int] = Future()
        assert (future.done(), future.running(), future.cancelled()) == (False, False, False)
        assert repr(future) == "<Future waiting>"
        assert future.begin()
        assert (future.done(), future.running()) == (False, True)
        assert repr(future) == "<Future running>"
        assert future.end(3)
        assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
        assert repr(future) == "<Future done>"
        assert future.result(0) == 3
        assert future.exception() is None
        assert future.failure is None

    def test_an_error(self) -> None:
        future = failed(ValueError("no"))
        assert future.done()
        assert not future.cancelled()
        assert repr(future) == "<Future failed with ValueError>"
        assert isinstance(future.exception(), ValueError)
        with pytest.raises(ValueError, match="no"):
            future.result()

    def test_cancelled_before_it_begins(self) -> None:
        future: Future[int] = Future()
        assert future.cancel()
        assert future.done()
        assert future.cancelled()
        assert not future.begin()
        assert not future.end(3)
        with pytest.raises(CallCancelled):
            future.result()
        with pytest.raises(CallCancelled):
            future.exception()
        assert not future.cancel()

    def test_the_first_end_counts(self) -> None:
        future = ended(1)
        assert not future.end(2)
        assert not future.end_cancelled()
        assert not future.begin()
        assert future.result() == 1

    def test_what_runs_is_asked_to_stop_by_who_runs_it(self) -> None:
        future: Future[int] = Future()
        asked: list[str] = []
        future.stopper = lambda: not asked.append("once")
        future.begin()
        assert future.cancel()
        assert asked == ["once"]
        assert not future.done()

    def test_an_ended_call_is_not_kept_alive(self) -> None:
        class Needed:
            def stop(self) -> bool:
                return True

        needed = Needed()
        gone = weakref.ref(needed)
        future: Future[int] = Future()
        future.stopper = needed.stop
        future.add_done_callback(lambda _, kept=needed: None)  # type: ignore[misc]
        future.end(1)
        del needed
        gc.collect()
        assert gone() is None

    def test_it_cannot_leave_its_process(self) -> None:
        with pytest.raises(NotEncodable, match="unwrap_futures"):
            pickle.dumps(ended(1))


class TestErrors:
    def test_a_traceback_does_not_grow_with_each_asking(self) -> None:
        def broken() -> None:
            raise ValueError("no")

        future: Future[Any] = Future()
        try:
            broken()
        except ValueError as error:
            future.end(None, error)
        lengths = set()
        for _ in range(5):
            with pytest.raises(ValueError, match="no") as caught:
                future.result()
            lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
        assert len(lengths) == 1
        assert "broken" in "".join(traceback.format_exception(caught.value))

    def test_raising_makes_no_cycle(self) -> None:
        future = failed(ValueError("no"))
        gone = weakref.ref(future)
        gc.collect()
        gc.disable()
        try:
            with suppress(ValueError):
                future.result()
            del future
            assert gone() is None
        finally:
            gc.enable()

    async def test_a_stop_iteration_stays_an_error(self) -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await failed(StopIteration(3))
        with pytest.raises(RuntimeError, match="StopIteration"):
            await failed(StopIteration(3)).aresult()


class TestWaiting:
    def test_in_time_and_not(self) -> None:
        future: Future[int] = Future()
        with pytest.raises(WaitTimeout, match=r"after 0\.001 s; it goes on"):
            future.result(timeout="1ms")
        with pytest.raises(TimeoutError):
            future.exception(timeout=0)
        future.end(1)
        assert future.result(timeout=0) == 1

    @pytest.mark.parametrize("seed", range(5))
    def test_every_thread_that_waits_is_told(self, seed: int) -> None:
        chance = random.Random(seed)
        futures: list[Future[int]] = [Future() for _ in range(20)]
        got: list[int] = []

        def look() -> None:
            mixed = futures[:]
            random.Random(chance.random()).shuffle(mixed)
            got.append(sum(one.result(30) for one in mixed))

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for number, one in enumerate(chance.sample(futures, len(futures))):
            one.end(number)
        for thread in threads:
            thread.join(30)
        assert got == [sum(range(20))] * 8

    @pytest.mark.parametrize("seed", range(20))
    def test_of_all_that_end_it_at_once_one_wins(self, seed: int) -> None:
        """Enders, cancellers, beginners, and callbacks that are added meanwhile."""
        chance = random.Random(seed)
        future: Future[int] = Future()
        start = threading.Barrier(9)
        won: list[object] = []
        told: list[object] = []

        def act(step: Callable[[], object], name: object) -> None:
            start.wait(30)
            if step():
                won.append(name)

        steps: list[tuple[Callable[[], object], object]] = [
            (lambda: future.end(1), 1),
            (lambda: future.end(2), 2),
            (future.end_cancelled, "cancelled"),
            (future.cancel, "cancelled"),
            *[(lambda: future.add_done_callback(told.append), None) for _ in range(4)],
        ]
        chance.shuffle(steps)
        threads = [threading.Thread(target=act, args=step) for step in steps]
        for thread in threads:
            thread.start()
        start.wait(30)
        for thread in threads:
            thread.join(30)
        assert len(won) == 1
        assert told == [future] * 4
        if future.cancelled():
            assert won == ["cancelled"]
        else:
            assert [future.result()] == won

    async def test_in_a_loop_only_the_unfinished_blocks(self) -> None:
        future: Future[int] = Future()
        for ask in (future.result, future.exception):
            with pytest.raises(Blocking, match="use 'await future'"):
                ask()
        future.end(1)
        assert future.result() == 1
        assert future.exception() is None


class TestAwaiting:
    async def test_ended_from_the_loop_and_from_a_thread(self) -> None:
        here: Future[int] = Future()
        asyncio.get_running_loop().call_soon(here.end, 1)
        assert await here == 1
        there: Future[int] = Future()
        thread = threading.Thread(target=there.end, args=(2,))
        waiting = asyncio.ensure_future(there.aresult())
        thread.start()
        assert await waiting == 2
        thread.join(30)

    async def test_from_several_loops_at_once(self) -> None:
        future: Future[int] = Future()
        got: list[int] = []

        def elsewhere() -> None:
            async def main() -> int:
                return await future

            got.append(asyncio.run(main()))

        threads = [threading.Thread(target=elsewhere) for _ in range(3)]
        for thread in threads:
            thread.start()
        await eventually(lambda: len(future._callbacks or ()) == 3)
        future.end(7)
        assert await future == 7
        for thread in threads:
            await asyncio.to_thread(thread.join, 30)
        assert got == [7, 7, 7]

    async def test_cancelling_who_wants_it_cancels_the_call(self) -> None:
        future: Future[int] = Future()

        async def wants() -> int:
            return await future

        task = asyncio.create_task(wants())
        await eventually(lambda: future._callbacks)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancelled()

    async def test_cancelling_who_only_waits_does_not(self) -> None:
        future: Future[int] = Future()
        task = asyncio.create_task(future.aresult())
        await eventually(lambda: future._callbacks)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not future.done()
        assert not future._callbacks
        with pytest.raises(WaitTimeout, match="it goes on"):
            await future.aresult(timeout="1ms")
        assert not future.done()
        future.end(1)
        assert await future.aresult(timeout=0) == 1

    async def test_a_cancelled_call_is_no_cancelled_caller(self) -> None:
        future: Future[int] = Future()
        future.cancel()
        with pytest.raises(CallCancelled):
            await future
        with pytest.raises(CallCancelled):
            await future.aresult()

    def test_a_loop_that_is_gone_is_no_trouble(self) -> None:
        future: Future[int] = Future()

        async def leave() -> None:
            task = asyncio.ensure_future(future.aresult())
            await eventually(lambda: future._callbacks)
            callbacks = list(future._callbacks or ())
            task.cancel()
            await asyncio.wait([task])
            future._callbacks = callbacks  # type: ignore[assignment]

        asyncio.run(leave())
        assert future.end(1)


class TestCallbacks:
    def test_they_come_in_order_and_at_once_when_it_has_ended(self) -> None:
        future: Future[int] = Future()
        told: list[str] = []
        future.add_done_callback(lambda _: told.append("first"))
        future.add_done_callback(lambda _: told.append("second"))
        future.end(1)
        future.add_done_callback(lambda one: told.append(str(one.result())))
        assert told == ["first", "second", "1"]

    def test_one_that_fails_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        future: Future[int] = Future()
        told: list[int] = []
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(lambda one: told.append(one.result()))
        future.end(1)
        assert told == [1]

    def test_one_that_is_forgotten_is_not_called(self) -> None:
        future: Future[int] = Future()
        told: list[Any] = []
        future.add_done_callback(told.append)
        future.forget_callback(told.append)
        future.forget_callback(told.append)
        future.end(1)
        future.forget_callback(told.append)
        assert told == []


class TestWrapping:
    def test_those_of_executors(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            assert wrap_future(executor.submit(len, "four")).result(30) == 4
            with pytest.raises(TypeError):
                wrap_future(executor.submit(len, 4)).result(30)  # type: ignore[arg-type]

    def test_cancelling_goes_both_ways(self) -> None:
        theirs: concurrent.futures.Future[int] = concurrent.futures.Future()
        ours = wrap_future(theirs)
        assert ours.cancel()
        assert theirs.cancelled()
        assert ours.cancelled()
        theirs = concurrent.futures.Future()
        ours = wrap_future(theirs)
        theirs.cancel()
        assert ours.cancelled()

    def test_what_runs_in_an_executor_cannot_be_cancelled(self) -> None:
        theirs: concurrent.futures.Future[int] = concurrent.futures.Future()
        theirs.set_running_or_notify_cancel()
        ours = wrap_future(theirs)
        assert not ours.cancel()
        theirs.set_result(1)
        assert ours.result() == 1

    async def test_those_of_asyncio(self) -> None:
        loop = asyncio.get_running_loop()
        theirs: asyncio.Future[int] = loop.create_future()
        ours = wrap_future(theirs)
        theirs.set_result(1)
        assert await ours == 1
        assert wrap_future(theirs).result() == 1
        theirs = loop.create_future()
        theirs.set_exception(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            wrap_future(theirs).result()
        theirs = loop.create_future()
        assert wrap_future(theirs).cancel()
        assert theirs.cancelled()

    async def test_those_of_asyncio_from_a_thread(self) -> None:
        theirs: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def elsewhere() -> int:
            return wrap_future(theirs).result(30)

        waiting = asyncio.create_task(asyncio.to_thread(elsewhere))
        await eventually(lambda: theirs._callbacks)  # type: ignore[attr-defined]
        theirs.set_result(4)
        assert await waiting == 4
        other: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        assert await asyncio.to_thread(lambda: wrap_future(other).cancel())
        await eventually(other.cancelled)

    def test_one_whose_loop_is_gone(self) -> None:
        async def left() -> asyncio.Future[int]:
            return asyncio.get_running_loop().create_future()

        ours = wrap_future(asyncio.run(left()))
        with pytest.raises(CallCancelled, match="loop of the future was closed"):
            ours.result(0)

    @pytest.mark.parametrize("wrong", [3, None, "text", ended(1)])
    def test_what_is_none_is_refused(self, wrong: Any) -> None:
        with pytest.raises(InvalidCall, match="is no future"):
            wrap_future(wrong)
