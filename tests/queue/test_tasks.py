"""Declaring tasks: names, kinds, options, and what is refused with which words."""

from __future__ import annotations

import functools
import inspect
import runpy
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from treadle.app import Treadle
from treadle.errors import (
    InvalidCall,
    InvalidOption,
    NotOpen,
    UnknownOption,
    UnknownTask,
    Unsupported,
    UsageError,
)
from treadle.policies.retry import Retry
from treadle.records import Keep, Scope, Unique
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
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "__init__.py").touch()
        (tmp_path / "shop" / "jobs.py").write_text(
            self.SOURCE + "@app.task\ndef work() -> int: return 1\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        found = runpy.run_module("shop.jobs", run_name="__main__", alter_sys=True)
        assert found["app"].tasks.keys() == {"shop.jobs.work"}

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


class TestOptions:
    def test_an_unknown_option_is_refused_with_the_nearest_and_the_known(self) -> None:
        with pytest.raises(UnknownOption) as caught:
            make().task(retires=3)(plain)  # type: ignore[call-overload]
        assert "task 'plain' has no option 'retires' (did you mean 'retry'?)" in str(caught.value)
        assert "Known options: name, queue, priority, retry" in str(caught.value)
        assert caught.value.option == "retires"
        assert "retry" in caught.value.known

    def test_so_is_one_for_a_call(self) -> None:
        with pytest.raises(UnknownOption, match="did you mean 'priority'"):
            make().task(plain).options(prority=3)  # type: ignore[call-arg]

    def test_an_option_in_the_wrong_place_says_the_right_one(self) -> None:
        app = make()
        with pytest.raises(UnknownOption, match=r"for one call: task\.options"):
            app.task(id="x")(plain)  # type: ignore[call-overload]
        with pytest.raises(UnknownOption, match="where it is declared"):
            app.task(plain).options(mode="thread")  # type: ignore[call-arg]

    def test_the_defaults(self) -> None:
        options = make().task(plain).options
        assert options.queue == "default"
        assert options.retry.max == 0
        assert options.timeout == 1800
        assert options.expires is None
        assert options.keep == Keep(succeeded=3600, failed=7 * 86400, cancelled=86400)
        assert options.max_crashes == 3

    def test_a_copy_has_other_options_and_the_task_keeps_its_own(self) -> None:
        made = make().task(priority=1, tags=["a"])(plain)
        copy = made.options(priority=5, delay="5m", tags="b", timeout=None)
        assert (made.options.priority, copy.options.priority) == (1, 5)
        assert copy.options.tags == ("a", "b")
        assert copy.options.timeout is None
        assert copy(1) == 3
        again = copy.options(queue="mail")
        assert (again.options.queue, again.options.priority) == ("mail", 5)

    def test_durations_come_in_three_ways(self) -> None:
        app = make()
        for value in (90, timedelta(seconds=90), "1m30s"):
            made = app.task(timeout=value, name="same")(plain)
            assert made.options.timeout == 90

    def test_the_shortcuts_of_keep(self) -> None:
        app = make()

        def keep(**options: Any) -> Keep:
            return app.task(name="same", **options)(plain).options.keep

        assert keep(keep="1h") == Keep(succeeded=3600, failed=3600, cancelled=3600)
        assert keep(keep=None).failed is None
        assert keep(keep={"failed": 5}) == Keep(failed=5)
        assert keep(result_ttl=7) == Keep(succeeded=7)
        assert keep(keep={"failed": 5}, result_ttl=7) == Keep(succeeded=7, failed=5)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"queue": "a..b"}, "is not a queue name"),
            ({"queue": 3}, "is not the name of a queue"),
            ({"priority": 101}, "from -100 to 100"),
            ({"priority": True}, "from -100 to 100"),
            ({"retry": -1}, "retry: -1 is not"),
            ({"retry": "3"}, "a number of further attempts"),
            ({"timeout": 0}, "above 0"),
            ({"timeout": "soon"}, "is not a duration"),
            ({"expires": 0}, "could never start"),
            ({"expires": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
            ({"key": "user:{usr}"}, "no parameter 'usr'"),
            ({"key": True}, "name the parameters"),
            ({"key": "a", "key_slots": 0}, "from 1"),
            ({"key_slots": 2}, "key_slots= needs key="),
            ({"ordered": True}, "ordered= needs key="),
            ({"unique": ["c"]}, "no parameter 'c'"),
            ({"unique": {"scope": "until_dawn"}}, "one of 'until_started'"),
            ({"unique": {"scope": "for"}}, "go together"),
            ({"unique": {"by": "x", "til": 3}}, "by, scope, ttl, on_conflict"),
            ({"unique": lambda c: "x"}, "no parameter 'c'"),
            ({"limits": [3]}, "a Rate or Slots"),
            ({"keep": {"done": 3}}, "succeeded, failed, cancelled"),
            ({"tags": [""]}, "1 to 128 characters"),
            ({"meta": {1: 2}}, "texts as keys"),
            ({"meta": {"a": object()}}, "is not JSON"),
            ({"max_crashes": 0}, "from 1"),
            ({"bound": 0}, "from 1"),
            ({"on_full": "drop"}, "'error' or 'wait'"),
            ({"on_full": "wait"}, "needs bound="),
            ({"delivery": "exactly_once"}, "at_least_once"),
            ({"delivery": "at_most_once", "retry": 1}, "exclude each other"),
            ({"mode": "fiber"}, "'asyncio' or 'thread'"),
            ({"errors": [3]}, "an exception class"),
        ],
    )
    def test_a_value_that_cannot_work_is_refused_where_it_is_given(
        self, options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(InvalidOption, match=words):
            make().task(name="t", **options)(plain)

    @pytest.mark.parametrize("mode", ["process", "ray", "sync"])
    def test_modes_that_jobs_do_not_have_are_refused(self, mode: Any) -> None:
        with pytest.raises(Unsupported, match=mode) as caught:
            make().task(mode=mode)(plain)
        assert caught.value.feature == f"mode='{mode}'"

    def test_stateful_workers_for_jobs_are_refused_with_the_way_out(self) -> None:
        with pytest.raises(Unsupported, match="scope='foreman'"):
            make().task(worker=Holder)(plain)  # type: ignore[call-overload]

    def test_a_coroutine_does_not_run_in_a_thread(self) -> None:
        with pytest.raises(InvalidOption, match="'async def' and cannot run in mode='thread'"):
            make().task(mode="thread")(later)

    def test_a_call_has_one_start(self) -> None:
        made = make().task(plain)
        at = datetime(2030, 1, 1).astimezone()
        with pytest.raises(InvalidOption, match="delay= and run_at= both"):
            made.options(delay=3, run_at=at)

    def test_a_call_that_could_never_start_is_refused(self) -> None:
        made = make().task(expires="1m")(plain)
        assert made.options(delay=30).options.expires is not None
        with pytest.raises(InvalidOption, match="would expire before"):
            made.options(delay="1h")

    def test_a_call_sets_the_number_of_retries_only(self) -> None:
        made = make().task(retry=Retry(3, on=OSError))(plain)
        assert made.options(retry=5).options.call_retries == 5
        with pytest.raises(InvalidOption, match="belongs where the task is declared"):
            made.options(retry=Retry(5))  # type: ignore[arg-type]

    def test_at_most_once_refuses_retries_of_a_call_too(self) -> None:
        made = make().task(delivery="at_most_once")(plain)
        with pytest.raises(InvalidOption, match="exclude each other"):
            made.options(retry=1)

    def test_metadata_is_copied(self) -> None:
        given = {"a": [1]}
        made = make().task(meta=given)(plain)
        given["a"].append(2)
        assert made.options.meta == {"a": [1]}

    def test_a_unique_rule_may_be_the_record(self) -> None:
        rule = Unique(key="only:{a}", scope=Scope.FOR, ttl=60)
        options = make().task(unique=rule)(plain).options
        assert options.unique is not None
        assert options.unique.of({"a": 1, "b": 2}) == Unique(key="only:1", scope=Scope.FOR, ttl=60)


class TestCalls:
    def test_calls_of_many_are_tuples_dicts_or_bound(self) -> None:
        made = make().task(name="t")(plain)
        calls = made._calls([(1,), {"a": 2}, made.bind(3, b=4)])
        assert [(call.args, call.kwargs) for call in calls] == [
            ((1,), {}),
            ((), {"a": 2}),
            ((3,), {"b": 4}),
        ]
        assert repr(calls[2]) == "t(3, b=4)"

    def test_a_bare_argument_is_refused(self) -> None:
        with pytest.raises(InvalidCall, match=r"item 1 .* is 'b'.*a tuple"):
            make().task(plain)._calls([(1,), "b"])

    def test_a_call_of_another_task_is_refused(self) -> None:
        app = make()
        with pytest.raises(InvalidCall, match="is a call of 'two', not of 'one'"):
            app.task(name="one")(plain)._calls([app.task(name="two")(later).bind(1)])
