"""Dependencies: kinds, scopes, order, errors, overrides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest

from tests.queue.conftest import run_all
from treadle import CONTEXT, Context, Depends, InvalidOption, JobFailed, Treadle, UnknownOption
from treadle.testing.clock import eventually

Log = list[str]


async def test_all_kinds_of_functions_give_values(app: Treadle) -> None:
    log: Log = []

    def plain() -> str:
        return "plain"

    async def later() -> str:
        return "later"

    def generator() -> Iterator[str]:
        yield "generator"
        log.append("generator closed")

    async def stream() -> AsyncIterator[str]:
        yield "stream"
        log.append("stream closed")

    class Client:
        def __call__(self) -> str:
            return "object"

    @app.task(name="a")
    async def in_loop(
        one: str = Depends(plain),
        two: str = Depends(later),
        three: str = Depends(generator),
        four: str = Depends(stream),
        five: str = Depends(Client()),
    ) -> list[str]:
        log.append("task")
        return [one, two, three, four, five]

    threaded = app.task(name="b")(
        lambda one=Depends(plain), two=Depends(later), three=Depends(generator),
        four=Depends(stream), five=Depends(Client()): [one, two, three, four, five]
    )  # fmt: skip
    for task in (in_loop, threaded):
        log.clear()
        job = await task.aenqueue()
        await run_all(app)
        assert await job.aresult() == ["plain", "later", "generator", "stream", "object"]
        assert log[-2:] == ["stream closed", "generator closed"]


async def test_they_nest_and_are_made_once_per_job(memory: Treadle) -> None:
    made: Log = []

    def settings(ctx: Context = CONTEXT) -> str:
        made.append("settings")
        return ctx.task_name

    def left(of: str = Depends(settings)) -> str:
        return f"left {of}"

    async def right(of: str = Depends(settings), fixed: int = 3) -> str:
        return f"right {of} {fixed}"

    def fresh() -> object:
        return object()

    @memory.task(name="t")
    async def work(
        number: int,
        one: str = Depends(left),
        two: str = Depends(right),
        three: object = Depends(fresh, cache=False),
        four: object = Depends(fresh, cache=False),
        ctx: Context = CONTEXT,
    ) -> tuple[str, str]:
        assert three is not four
        assert ctx.attempt == 1
        return one, two

    job = await work.aenqueue(1)
    await run_all(memory)
    assert await job.aresult() == ("left t", "right t 3")
    assert made == ["settings"]


class TestScopes:
    async def test_each_lives_as_long_as_it_says(self, url: str) -> None:
        log: Log = []

        def tracked(name: str) -> Any:
            async def dependency() -> AsyncIterator[str]:
                log.append(f"+{name}")
                yield name
                log.append(f"-{name}")

            return dependency

        of_app, of_foreman, of_job = tracked("app"), tracked("foreman"), tracked("job")

        def derived(
            app_value: str = Depends(of_app, scope="app"),
            foreman_value: str = Depends(of_foreman, scope="foreman"),
        ) -> str:
            return app_value + foreman_value

        async with Treadle(url) as app:

            @app.task(name="t")
            async def work(
                both: str = Depends(derived, scope="foreman"), mine: str = Depends(of_job)
            ) -> str:
                return both + mine

            for _ in range(2):
                await work.aenqueue_many([(), ()])
                async with app.foreman(burst=True, concurrency=1) as foreman:
                    await foreman.join()
        assert log == [
            "+app", "+foreman", "+job", "-job", "+job", "-job", "-foreman",
            "+foreman", "+job", "-job", "+job", "-job", "-foreman", "-app",
        ]  # fmt: skip

    async def test_without_an_open_app_the_last_foreman_closes(self) -> None:
        log: Log = []

        async def client() -> AsyncIterator[int]:
            yield 1
            log.append("closed")

        app = Treadle("memory://")

        @app.task(name="t")
        async def work(one: int = Depends(client, scope="app")) -> int:
            return one

        await work.aenqueue()
        await run_all(app)
        assert log == ["closed"]
        await app.aclose()

    async def test_a_value_is_made_once_for_jobs_that_start_together(self, memory: Treadle) -> None:
        made: list[object] = []
        go = asyncio.Event()

        async def client() -> object:
            made.append(object())
            await go.wait()
            return made[-1]

        @memory.task(name="t")
        async def work(one: object = Depends(client, scope="foreman")) -> None:
            assert one is made[0]

        jobs = await work.aenqueue_many([()] * 5)
        async with memory.foreman():
            await eventually(lambda: bool(made))
            go.set()
            await asyncio.gather(*(job.aresult(timeout=30) for job in jobs))
        assert len(made) == 1

    async def test_whoever_makes_it_may_be_cancelled(self, memory: Treadle) -> None:
        made: list[int] = []
        go = asyncio.Event()

        async def client() -> int:
            made.append(1)
            await go.wait()
            return len(made)

        @memory.task(name="t")
        async def work(one: int = Depends(client, scope="foreman")) -> int:
            return one

        jobs = await work.aenqueue_many([(), ()])
        async with memory.foreman():
            await eventually(lambda: bool(made))
            await jobs[0].acancel()
            assert (await jobs[0].await_for(timeout=30)).state == "cancelled"
            go.set()
            assert await jobs[1].aresult(timeout=30) == 2

    async def test_one_that_fails_is_tried_again_by_the_next_job(self, memory: Treadle) -> None:
        attempts: list[int] = []

        def client() -> int:
            attempts.append(1)
            if len(attempts) == 1:
                raise OSError("no connection")
            return 7

        @memory.task(name="t")
        async def work(one: int = Depends(client, scope="foreman")) -> int:
            return one

        first, second = await work.aenqueue_many([(), ()])
        async with memory.foreman(burst=True, concurrency=1) as foreman:
            await foreman.join()
        with pytest.raises(JobFailed, match="no connection"):
            await first.aresult()
        assert await second.aresult() == 7


class TestErrors:
    async def test_a_generator_sees_the_error_and_cannot_hide_it(self, app: Treadle) -> None:
        log: Log = []

        def transaction() -> Iterator[str]:
            try:
                yield "open"
            except ValueError as error:
                log.append(f"rolled back: {error}")
            else:
                log.append("committed")

        async def session() -> AsyncIterator[str]:
            try:
                yield "open"
            except ValueError:
                log.append("session closed")

        @app.task(name="t")
        def work(fail: bool, tx: str = Depends(transaction), s: str = Depends(session)) -> None:
            if fail:
                raise ValueError("no")

        good, bad = await work.aenqueue_many([(False,), (True,)])
        async with app.foreman(burst=True, concurrency=1) as foreman:
            await foreman.join()
        assert await good.aresult() is None
        with pytest.raises(JobFailed, match="no"):
            await bad.aresult()
        assert log == ["committed", "session closed", "rolled back: no"]

    async def test_an_error_while_closing_fails_the_job(self, memory: Treadle) -> None:
        def broken() -> Iterator[int]:
            yield 1
            raise OSError("cannot close")

        @memory.task(name="t")
        async def work(one: int = Depends(broken)) -> int:
            return one

        job = await work.aenqueue()
        await run_all(memory)
        with pytest.raises(JobFailed, match="cannot close"):
            await job.aresult()


class TestRefused:
    def test_a_parameter_that_nothing_fills(self) -> None:
        def get_user(user_id: int) -> int:
            return user_id

        with pytest.raises(InvalidOption, match=r"'user_id' of dependency .*get_user.*default"):
            Depends(get_user)

    def test_something_that_lives_shorter(self) -> None:
        def per_job(ctx: Context = CONTEXT) -> str:
            return ctx.job_id

        with pytest.raises(InvalidOption, match=r"lives as long as the app.*as long as the job"):
            Depends(per_job, scope="app")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((3,), "takes a function"),
            ((CONTEXT,), "takes a function"),
        ],
    )
    def test_what_is_no_function(self, arguments: tuple[Any, ...], words: str) -> None:
        with pytest.raises(InvalidOption, match=words):
            Depends(*arguments)

    def test_an_unknown_option(self) -> None:
        with pytest.raises(UnknownOption, match=r"'skope' \(did you mean 'scope'\?\)"):
            Depends(int, skope="app")  # type: ignore[call-overload]
        with pytest.raises(UnknownOption, match=r"'use_cache'.*'cache'"):
            Depends(int, use_cache=False)  # type: ignore[call-overload]

    def test_an_unknown_scope(self) -> None:
        with pytest.raises(InvalidOption, match="'job', 'foreman' or 'app'"):
            Depends(int, scope="request")  # type: ignore[call-overload]
        with pytest.raises(InvalidOption, match="one value by definition"):
            Depends(int, scope="app", cache=False)

    def test_the_depends_of_fastapi(self, memory_app: Treadle) -> None:
        foreign = type("Depends", (), {"__module__": "fastapi.params"})()

        def work(db: Any = foreign) -> None: ...

        with pytest.raises(InvalidOption, match=r"FastAPI's Depends.*from treadle import Depends"):
            memory_app.task(name="t")(work)

    def test_a_marker_that_is_no_default(self, memory_app: Treadle) -> None:
        def no_default(ctx: Context) -> None: ...

        def annotated(db: Annotated[int, Depends(int)]) -> None: ...

        def aliased(db: Database) -> None: ...

        for fn, words in (
            (no_default, "ctx: Context = CONTEXT"),
            (annotated, r"db: … = Depends"),
            (aliased, r"db: … = Depends"),
        ):
            with pytest.raises(InvalidOption, match=words):
                memory_app.task(name="t")(fn)  # type: ignore[arg-type]

    def test_a_positional_only_parameter(self, memory_app: Treadle) -> None:
        def work(ctx: Context = CONTEXT, /) -> None: ...

        with pytest.raises(InvalidOption, match="positional-only"):
            memory_app.task(name="t")(work)


Database = Annotated[int, Depends(int)]


@pytest.fixture
def memory_app() -> Treadle:
    return Treadle("memory://")


async def test_overrides_replace_a_function_everywhere(memory: Treadle) -> None:
    def get_db() -> str:
        return "real"

    def repository(db: str = Depends(get_db)) -> str:
        return f"repository on {db}"

    @memory.task(name="t")
    def work(of: str = Depends(repository), db: str = Depends(get_db)) -> tuple[str, str]:
        return of, db

    with memory.override(depends={get_db: lambda: "fake"}):
        job = await work.aenqueue()
        await run_all(memory)
        assert await job.aresult() == ("repository on fake", "fake")
    job = await work.aenqueue()
    await run_all(memory)
    assert await job.aresult() == ("repository on real", "real")
    with (
        pytest.raises(InvalidOption, match="write lambda: value"),
        memory.override(depends={get_db: "fake"}),  # type: ignore[dict-item]
    ):
        pass


async def test_plain_dependencies_of_a_thread_task_do_not_block_the_loop(
    memory: Treadle,
) -> None:
    threads: list[threading.Thread] = []

    def where() -> Iterator[None]:
        threads.append(threading.current_thread())
        yield
        threads.append(threading.current_thread())

    @memory.task(name="t")
    def work(one: None = Depends(where), two: None = Depends(where, scope="foreman")) -> None:
        threads.append(threading.current_thread())

    await work.aenqueue()
    await run_all(memory)
    assert threading.main_thread() not in threads
    assert len(threads) == 5


async def test_values_can_be_given_in_a_plain_call() -> None:
    app = Treadle("memory://")

    @app.task(name="t")
    async def work(number: int, db: str = Depends(str)) -> str:
        return f"{number} {db}"

    assert await work(1, db="mine") == "1 mine"
