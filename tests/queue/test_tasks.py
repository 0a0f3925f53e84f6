"""Declaring tasks: names, kinds, calls, and what is refused with which words."""

from __future__ import annotations

import copy
import functools
import inspect
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.queue.conftest import run_all
from treadle.app import Treadle
from treadle.errors import InvalidCall, InvalidOption, JobFailed, NotOpen, UnknownTask, UsageError
from treadle.task import task


def plain(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


async def later(a: int) -> int:
    return a


class Holder:
    @staticmethod
    def static(a: int) -> int:
        return a

    def method(self, a: int) -> int:
        return a


def make() -> Treadle:
    return Treadle("memory://")


class TestKinds:
    def test_a_task_is_named_by_module_and_qualified_name(self) -> None:
        app = make()
        made = app.task(plain)
        assert made.name == f"{__name__}.plain"
        assert app.tasks[made.name] is made

    def test_a_plain_call_stays_a_plain_call(self) -> None:
        assert make().task(plain)(1) == 3

    async def test_a_plain_call_of_an_async_task_gives_its_coroutine(self) -> None:
        assert await make().task(later)(4) == 4

    def test_a_task_looks_like_its_function(self) -> None:
        made = make().task(plain)
        assert (made.__name__, made.__doc__, made.__module__) == ("plain", "Adds.", __name__)
        assert inspect.signature(made) == inspect.signature(plain)
        assert inspect.unwrap(made) is plain

    def test_static_functions_are_tasks(self) -> None:
        made = make().task(Holder.static)
        assert made.name == f"{__name__}.Holder.static"
        assert made(3) == 3

    def test_functions_run_in_threads_and_coroutines_in_the_loop(self) -> None:
        app = make()
        assert app.task(plain).mode == "thread"
        assert app.task(later).mode == "asyncio"
        assert app.task(mode="asyncio", name="quick")(plain).mode == "asyncio"

    @pytest.mark.parametrize(
        ("fn", "words"),
        [
            (lambda: None, "is a lambda"),
            (Holder().method, "bound to an object"),
            (Holder.method, "is a method"),
            (Holder, "is a class"),
            (functools.partial(plain, 1), "is a partial"),
            (staticmethod(plain), "put that decorator above"),
            (len, "is a builtin_function_or_method"),
        ],
    )
    def test_what_no_foreman_could_find_is_refused(self, fn: Any, words: str) -> None:
        with pytest.raises(InvalidOption, match=words):
            make().task(fn)

    def test_nested_functions_need_a_name(self) -> None:
        def inner() -> None: ...

        with pytest.raises(InvalidOption, match=r"defined inside a function.*name='…'"):
            make().task(inner)
        assert make().task(name="inner")(inner).name == "inner"

    def test_generators_are_refused(self) -> None:
        async def stream() -> Any:
            yield 1

        def rows() -> Any:
            yield 1

        for fn in (stream, rows):
            with pytest.raises(InvalidOption, match=r"is a generator.*ctx\.progress"):
                make().task(name="x")(fn)

    def test_a_task_is_not_made_a_task_again(self) -> None:
        app = make()
        with pytest.raises(UsageError, match="is a task already"):
            app.task(app.task(plain))  # type: ignore[call-overload]

    @pytest.mark.parametrize("name", ["", " x", "x " * 200])
    def test_a_name_that_cannot_be_typed_is_refused(self, name: str) -> None:
        with pytest.raises(InvalidOption, match="is not the name of a task"):
            make().task(name=name)(plain)


class TestMain:
    SOURCE = "from treadle.app import Treadle\napp = Treadle('memory://')\n"

    def test_a_script_is_named_as_its_module(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = tmp_path / "my_jobs.py"
        script.write_text(self.SOURCE + "@app.task\ndef work() -> int: return 1\n")
        monkeypatch.syspath_prepend(tmp_path)
        main = ModuleType("__main__")
        main.__file__, main.__spec__ = str(script), None
        monkeypatch.setitem(sys.modules, "__main__", main)
        exec(compile(script.read_text(), str(script), "exec"), vars(main))
        assert main.app.tasks.keys() == {"my_jobs.work"}

    def test_python_m_is_named_as_its_module(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "corner").mkdir()
        (tmp_path / "corner" / "__init__.py").touch()
        (tmp_path / "corner" / "jobs.py").write_text(
            self.SOURCE + "@app.task\ndef work() -> int: return 1\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        found = runpy.run_module("corner.jobs", run_name="__main__", alter_sys=True)
        sys.modules.pop("corner", None)
        assert found["app"].tasks.keys() == {"corner.jobs.work"}

    def test_a_prompt_is_told_the_way_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        main = ModuleType("__main__")
        main.__spec__ = None
        monkeypatch.setitem(sys.modules, "__main__", main)
        with pytest.raises(InvalidOption, match=r"another name in every foreman.*of its own"):
            exec(self.SOURCE + "@app.task\ndef work() -> int: return 1\n", vars(main))


class TestRegistry:
    def test_two_functions_of_one_name_are_refused(self) -> None:
        app = make()
        app.task(name="same")(plain)
        with pytest.raises(InvalidOption, match=r"two tasks are named 'same'.*plain.*later"):
            app.task(name="same")(later)

    def test_the_same_function_again_takes_its_own_place(self) -> None:
        app = make()
        app.task(name="same")(plain)
        again = app.task(name="same")(plain)
        assert app.tasks["same"] is again

    def test_another_function_of_the_same_name_is_warned_of(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = make()
        first = "\n\ndef send() -> int: return 1\n"
        space = {"__name__": "shop"}
        for source, warned in ((first, False), (first, False), ("\n" + first, True)):
            exec(compile(source, "shop.py", "exec"), space)
            app.task(space["send"])  # type: ignore[call-overload]
            assert ("task.replaced" in caplog.text) is warned

    def test_an_app_takes_in_the_tasks_of_a_module(self) -> None:
        module = ModuleType("elsewhere")
        vars(module).update(one=task(name="one")(plain), two=task(later), other=1)
        app = make()
        assert {one.name for one in app.include(module)} == {"one", f"{__name__}.later"}
        assert set(app.tasks) == {"one", f"{__name__}.later"}
        app.include(module)  # again is harmless

    def test_a_second_app_is_refused(self) -> None:
        free = task(name="free")(plain)
        make().include(free)
        with pytest.raises(UsageError, match=r"belongs to another app.*override"):
            make().include(free)

    def test_what_is_registered_is_the_task_and_not_a_copy(self) -> None:
        module = ModuleType("elsewhere")
        free = task(name="free")(plain)
        vars(module).update(urgent=free.options(priority=5), free=free)
        app = make()
        app.include(module)
        assert app.tasks["free"] is free

    def test_two_apps_with_one_function_keep_their_own_options(self) -> None:
        one, two = make().task(priority=1)(plain), make().task(priority=2)(plain)
        assert (one.options.priority, two.options.priority) == (1, 2)

    def test_a_module_without_tasks_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match="has no tasks at its top"):
            make().include("json")

    def test_a_task_without_an_app_cannot_be_enqueued(self) -> None:
        free = task(name="free")(plain)
        assert free(1) == 3
        with pytest.raises(NotOpen, match=r"belongs to no app.*app\.include"):
            free.enqueue(1)

    def test_a_copy_made_before_the_app_is_known_belongs_to_it_too(self) -> None:
        free = task(name="free")(plain)
        urgent = free.options(priority=5)
        app = make()
        app.include(free)
        assert urgent.core is app.core

    async def test_a_function_that_is_no_task_is_refused(self) -> None:
        app = make()
        app.task(name="thumbnail")(plain)
        with pytest.raises(UnknownTask, match=r"'later' is not a task.*@app\.task.*thumbnail"):
            await app.aenqueue(later, 1)

    async def test_the_task_of_another_app_is_refused(self) -> None:
        other = make().task(plain)
        with pytest.raises(UsageError, match="belongs to another app"):
            await make().aenqueue(other, 1)


class TestCalls:
    def test_calls_of_many_are_tuples_dicts_or_bound(self) -> None:
        made = make().task(name="t")(plain)
        calls = list(made._calls([(1,), {"a": 2}, made.bind(3, b=4)]))
        assert [(call.args, call.kwargs) for call in calls] == [
            ((1,), {}),
            ((), {"a": 2}),
            ((3,), {"b": 4}),
        ]
        assert repr(calls[2]) == "t(3, b=4)"

    def test_a_bare_argument_is_refused(self) -> None:
        with pytest.raises(InvalidCall, match=r"item 1 .* is 'b'.*a tuple"):
            list(make().task(plain)._calls([(1,), "b"]))

    def test_a_call_of_another_task_is_refused(self) -> None:
        app = make()
        with pytest.raises(InvalidCall, match="is a call of 'two', not of 'one'"):
            list(app.task(name="one")(plain)._calls([app.task(name="two")(later).bind(1)]))


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("delay", "'enqueue'"),
        ("apply_async", "'enqueue'"),
        ("kiq", "'aenqueue'"),
        ("s", "'bind'"),
        ("enqeue", "'enqueue'"),
    ],
)
def test_a_word_of_another_library_is_known(word: str, hint: str) -> None:
    with pytest.raises(AttributeError, match=rf"plain' has no '{word}' \(did you mean {hint}\?\)"):
        getattr(make().task(plain), word)


def test_what_a_task_does_not_have_is_found_out_as_ever() -> None:
    made = make().task(plain)
    assert not hasattr(made, "zzz")
    assert not hasattr(type(made).__new__(type(made)), "name"), "before anything is set"
    assert copy.copy(made).name == made.name


class TestNamesOfParameters:
    async def test_any_name_can_be_one(self) -> None:
        """Also those that the verbs have themselves."""
        app = make()

        @app.task(name="t")
        async def keep(self: int, args: int = 0, kwargs: int = 0, task: int = 0) -> list[int]:
            return [self, args, kwargs, task]

        @app.task(name="more")
        async def more(first: int, /, **rest: int) -> dict[str, int]:
            return rest

        jobs = [
            await keep.aenqueue(self=1, args=2, kwargs=3, task=4),
            await app.aenqueue(keep, self=1, args=2, kwargs=3, task=4),
            *await app.aenqueue_many([keep.bind(self=1, args=2, kwargs=3, task=4)]),
            *await keep.aenqueue_many([{"self": 1, "args": 2, "kwargs": 3, "task": 4}]),
        ]
        other = await more.aenqueue(1, first=2, self=3)
        await run_all(app)
        assert [await job.aresult() for job in jobs] == [[1, 2, 3, 4]] * 4
        assert await other.aresult() == {"first": 2, "self": 3}
        assert await keep(self=1) == [1, 0, 0, 0]
        await app.aclose()


async def test_a_result_that_nobody_awaits_is_explained() -> None:
    """A plain decorator around ``async def`` makes a plain function of it."""

    def traced(fn: Any) -> Any:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

        return wrapper

    app = make()
    job = await app.task(name="t")(traced(later)).aenqueue(1)
    await run_all(app)
    with pytest.raises(JobFailed, match="it returned a coroutine, which nobody awaits") as caught:
        await job.aresult()
    assert "make its wrapper 'async def'" in str(caught.value)
    await app.aclose()
