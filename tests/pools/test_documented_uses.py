"""What pages about workers show, as somebody would type it, in each mode where it makes sense."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pools import documented_workers as shown
from tests.pools.documented_workers import (
    Api,
    Both,
    Counter,
    DataProcessor,
    Described,
    Flaky,
    Validated,
)
from tests.pools.gates import notes
from treadle import (
    LimitSet,
    Pool,
    Rate,
    Retry,
    Slots,
    Task,
    Worker,
    WorkerNotStarted,
    WorkerStopped,
    agather,
    backoff,
    calling,
    gather,
)
from treadle.errors import InvalidOption, ResultRejected
from treadle.pools.options import Mode

AT_ONCE = backoff.fixed(0)


class TestLife:
    def test_init_call_stop(self, mode: Mode) -> None:
        worker = DataProcessor.options(mode=mode).init(3)
        try:
            assert worker.process(10).result() == 30
            assert worker.counted().result() == 1
        finally:
            worker.stop()
        with pytest.raises(WorkerStopped):
            worker.process(10)

    def test_a_block_stops_one_and_several(self, several: Mode) -> None:
        with DataProcessor.options(mode=several).init(3) as one:
            assert one.process(10).result() == 30
        with DataProcessor.options(mode=several, max_workers=3).init(3) as many:
            assert [many.process(n).result() for n in range(10)] == list(range(0, 30, 3))
        for handle in (one, many):
            with pytest.raises(WorkerStopped):
                handle.process(1)

    def test_a_block_that_raises_stops_them_too(self, mode: Mode) -> None:
        with (
            pytest.raises(ZeroDivisionError),
            DataProcessor.options(mode=mode).init(3) as worker,
        ):
            raise ZeroDivisionError
        with pytest.raises(WorkerStopped):
            worker.process(1)

    def test_each_worker_has_a_state_of_its_own(self, mode: Mode) -> None:
        builder = Counter.options(mode=mode)
        with builder.init() as one, builder.init() as other:
            assert [one.increment().result(), one.increment().result()] == [1, 2]
            assert other.increment().result() == 1

    async def test_in_a_running_loop(self, later: Mode) -> None:
        async with DataProcessor.options(mode=later).init(3) as worker:
            assert await worker.process(10) == 30
            assert await agather([worker.process(n) for n in range(4)]) == [0, 3, 6, 9]

    async def test_a_program_shared_by_both_kinds_of_code(self, later: Mode) -> None:
        async with DataProcessor.options(mode=later).init(3) as worker:
            plain = asyncio.to_thread(lambda: worker.process(5).result(20))
            assert await plain == 15

    def test_workers_within_a_worker(self, mode: Mode) -> None:
        class Outer(Worker):
            def start(self) -> None:
                self.inner = DataProcessor.options(mode="thread").init(3)

            def stop(self) -> None:
                self.inner.stop()

            def twice(self, value: int) -> int:
                first: int = self.inner.process(value).result(20)
                return first * 2

        with Outer.options(mode=mode).init() as outer:
            assert outer.twice(7).result() == 42


class TestClasses:
    def test_models_check_and_shape_their_fields(self, mode: Mode) -> None:
        with Described.options(mode=mode).init(name=" press ", value=10, tags=["ml"]) as worker:
            assert worker.compute(5).result() == 50
            assert worker.described().result() == {"name": "Press", "value": 10, "tags": ["ml"]}

    def test_what_a_model_refuses_comes_out_of_init(self, mode: Mode) -> None:
        with pytest.raises(WorkerNotStarted) as caught:
            Described.options(mode=mode).init(name="", value=-1)
        assert type(caught.value.__cause__).__name__ == "ValidationError"

    def test_text_is_coerced_where_a_method_asks_for_it(self, mode: Mode) -> None:
        with Validated.options(mode=mode).init("3") as worker:
            assert worker.compute("5", y="2").result() == 21

    def test_asynchronous_methods_in_every_mode(self, mode: Mode) -> None:
        with Both.options(mode=mode).init() as worker:
            assert worker.later(5).result() == 10
            assert worker.now(5).result() == 15

    def test_coroutines_of_a_loop_overlap(self) -> None:
        class Meeting(Worker):
            def __init__(self) -> None:
                self.barrier = asyncio.Barrier(3)

            async def meet(self) -> int:
                return await self.barrier.wait()

        with Meeting.options(mode="asyncio").init() as meeting:
            assert sorted(gather([meeting.meet() for _ in range(3)], timeout=20)) == [0, 1, 2]


class TestOptions:
    @pytest.mark.parametrize("blocking", [True, "true", "1"])
    def test_results_and_not_futures(self, mode: Mode, blocking: Any) -> None:
        with DataProcessor.options(mode=mode, blocking=blocking).init(5) as worker:
            assert worker.process(10) == 50
            assert worker.call(DataProcessor.process, 10).result() == 50

    def test_results_of_calls_of_one_key(self, mode: Mode) -> None:
        options = DataProcessor.options(mode=mode, blocking=True, balancing="sticky")
        with options.init(5) as worker:
            assert worker.keyed("a").process(10) == 50
            assert worker.keyed("a").call(DataProcessor.process, 10).result() == 50

    def test_text_that_is_not_exact_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match="blocking='yes'"):
            DataProcessor.options(blocking="yes")  # type: ignore[arg-type]  # what is wrong here
        with pytest.raises(InvalidOption, match="did you mean 'thread'"):
            DataProcessor.options(mode="threads")  # type: ignore[arg-type]  # what is wrong here

    def test_a_bounded_line_before_a_thousand_calls(self) -> None:
        with DataProcessor.options(mode="thread", max_queued_tasks=10).init(2) as worker:
            futures = []
            for n in range(1000):
                futures.append(worker.process(n))
                assert sum(not one.done() for one in futures[-20:]) <= 10
            assert gather(futures) == list(range(0, 2000, 2))

    def test_a_pool_that_gives_to_the_least_busy(self, several: Mode) -> None:
        options = DataProcessor.options(mode=several, max_workers=2, balancing="least_active")
        with options.init(3) as pool:
            assert gather([pool.process(n) for n in range(8)]) == list(range(0, 24, 3))

    def test_a_worker_for_each_call(self, several: Mode) -> None:
        with Counter.options(mode=several, on_demand=True, max_workers=2).init() as pool:
            assert gather([pool.increment() for _ in range(4)], timeout=120) == [1, 1, 1, 1]

    @pytest.mark.ray
    @pytest.mark.slow
    @pytest.mark.leaves("socket:*")
    def test_what_a_worker_needs_of_a_cluster(self) -> None:
        with DataProcessor.options(mode="ray", ray={"num_cpus": 0.5}).init(3) as worker:
            assert worker.process(2).result(60) == 6


class TestFuturesAsArguments:
    def test_a_pipeline_of_two_workers(self, mode: Mode) -> None:
        with (
            DataProcessor.options(mode=mode).init(2) as producer,
            DataProcessor.options(mode="thread").init(3) as consumer,
        ):
            assert consumer.process(producer.process(10)).result() == 60

    def test_as_they_are_where_that_is_wanted(self) -> None:
        with DataProcessor.options(mode="thread", unwrap_futures=False).init(2) as worker:
            assert worker.is_future(worker.process(1)).result()
        with DataProcessor.options(mode="thread").init(2) as worker:
            assert not worker.is_future(worker.process(1)).result()


class TestLimits:
    def test_a_set_is_shared_by_the_workers_that_are_given_it(self, mode: Mode) -> None:
        limits = LimitSet(
            Rate(100, per=60, key="calls"),
            Rate(1000, per=3600, key="tokens", cost=0),
            Slots(10, key="connections"),
        )
        builder = Api.options(mode=mode, limits=limits)
        with builder.init("one") as one, builder.init("two") as two:
            assert one.ask("hello").result() == "one: hello"
            assert two.ask("hi").result() == "two: hi"
            assert limits.stats["tokens"].used == pytest.approx(7, abs=0.1)
            assert limits.stats["connections"].used == 0

    def test_a_list_is_private(self, mode: Mode) -> None:
        builder = Api.options(mode=mode, limits=[Rate(100, per=3600, key="tokens", cost=0)])
        with builder.init("one") as one, builder.init("two") as two:
            # Each reserves all that there is for an hour, and gives back what it did not use.
            assert one.ask("").result() == "one: "
            assert two.ask("").result() == "two: "

    def test_without_any_everything_is_granted(self, mode: Mode) -> None:
        with Api.options(mode=mode).init("key") as worker:
            assert worker.ask("hello").result() == "key: hello"


class TestRetries:
    def test_with_growing_pauses(self, mode: Mode, tmp_path: Path) -> None:
        retry = Retry(3, backoff=backoff.exponential(0.001, jitter=0.3))
        with Flaky.options(mode=mode, retry=retry).init(tmp_path / "log", 3) as worker:
            assert worker.fetch("value").result() == "value"
        assert len(notes(tmp_path / "log")) == 4

    @pytest.mark.parametrize(
        "on",
        [
            [ConnectionError, TimeoutError],
            lambda error: isinstance(error, ConnectionError) and "retry" in str(error),
        ],
        ids=["types", "a predicate"],
    )
    def test_of_some_errors(self, mode: Mode, tmp_path: Path, on: Any) -> None:
        retry = Retry(5, on=on, backoff=AT_ONCE)
        with Flaky.options(mode=mode, retry=retry).init(tmp_path / "log", 2) as worker:
            with pytest.raises(ValueError, match="retry value"):
                worker.fetch("value").result()
            assert worker.fetch("connection").result() == "connection"
        assert notes(tmp_path / "log") == ["value", "connection", "connection"]

    def test_until_the_answer_has_a_shape(self, mode: Mode, tmp_path: Path) -> None:
        checks = [lambda text: isinstance(text, str), lambda text: text.startswith("{")]
        retry = Retry(2, until=checks, backoff=AT_ONCE)
        with Flaky.options(mode=mode, retry=retry).init(tmp_path / "log", 2) as worker:
            assert worker.generate().result() == '{"data": 1}'
        with (
            Flaky.options(mode=mode, retry=retry).init(tmp_path / "other", 9) as worker,
            pytest.raises(ResultRejected),
        ):
            worker.generate().result()
        assert len(notes(tmp_path / "other")) == 3


class TestFunctions:
    @pytest.mark.parametrize("fn", [shown.compute, shown.compute_later, lambda x, y: x**2 + y**2])
    def test_any_function(self, mode: Mode, fn: Any) -> None:
        with Pool(mode, max_workers=1) as pool:
            assert pool.submit(fn, 3, 4).result() == 25

    def test_many_calls(self, mode: Mode) -> None:
        with Pool(mode, max_workers=1) as pool:
            assert list(pool.map(shown.square, range(10))) == [n * n for n in range(10)]
            assert list(pool.map(shown.factorial, range(1, 11)))[-1] == 3628800
            assert list(pool.map(lambda x: x * 100, [1, 2])) == [100, 200]

    def test_bound_to_a_pool(self, mode: Mode) -> None:
        with Pool(mode, max_workers=1) as pool:
            compute = pool.bind(shown.compute)
            assert compute.submit(3, 4).result() == 25
            assert compute(3, 4).result() == 25
            assert list(compute.map([1, 3], [2, 4])) == [5, 25]
            assert list(compute.starmap([(1, 2), (3, 4), (5, 6)])) == [5, 25, 61]

    def test_a_map_that_takes_too_long(self) -> None:
        gate = threading.Event()
        with Pool("thread", max_workers=2) as pool:
            try:
                with pytest.raises(TimeoutError):
                    list(pool.map(lambda _: gate.wait(20), range(5), timeout=0.05))
            finally:
                gate.set()

    @pytest.mark.parametrize("progress", [True, {"description": "Processing"}])
    def test_a_bar(self, progress: Any, capsys: pytest.CaptureFixture[str]) -> None:
        with Pool("thread") as pool:
            assert len(list(pool.map(shown.square, range(100), progress=progress))) == 100
        drawn = capsys.readouterr().err
        assert "100/100" in drawn
        if progress is not True:
            assert "Processing" in drawn


@pytest.fixture
def own_pools() -> Iterator[None]:
    """The pools of tasks without an app end with the test."""
    yield
    calling._of_no_app.close()
    calling._of_no_app.reopen()


@pytest.mark.usefixtures("own_pools")
class TestTasks:
    def test_a_call_stays_a_call(self) -> None:
        assert isinstance(shown.process_item, Task)
        assert shown.process_item(10) == 100

    @pytest.mark.parametrize("task", [shown.process_item, shown.process_elsewhere])
    def test_submitted_and_mapped(self, task: Task[[int], int]) -> None:
        assert task.submit(10).result() == 100
        assert list(task.map(range(10))) == [n * n for n in range(10)]

    def test_a_thousand_with_a_bar(self, capsys: pytest.CaptureFixture[str]) -> None:
        squares = list(shown.process_elsewhere.map(range(1000), progress=True))
        assert squares == [n * n for n in range(1000)]
        assert "1000/1000" in capsys.readouterr().err

    def test_limits_are_given_to_who_asks_for_them(self) -> None:
        assert shown.call_api.submit("hello").result() == ("HELLO", ["api"])
        assert shown.call_api("hello") == ("HELLO", [])
