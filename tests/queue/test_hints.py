"""What is said to who brings the words of another library, or takes a mark for a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from treadle import CONTEXT, Breaker, Context, Depends, InvalidOption, Rate, Treadle, UnknownOption
from treadle.errors import UnknownTask, UsageError

app: Any = Treadle("memory://")


@app.task(name="shop.add")
def add(n: int) -> int:
    return n


@pytest.mark.parametrize(
    ("thing", "word", "meant"),
    [
        (app.job("x"), "status", "state"),
        (app.job("x"), "get", "result"),
        (app.job("x"), "ready", "state"),
        (app.job("x"), "error", "record"),
        (app.job("x"), "resutl", "result"),
        (app, "delay", "enqueue"),
        (app, "get_job", "job"),
        (app, "queues", "queue"),
        (add, "apply_async", "enqueue"),
        (add, "queue", "options"),
    ],
)
def test_an_attribute_of_another_library_is_known(thing: Any, word: str, meant: str) -> None:
    with pytest.raises(AttributeError, match=rf"has no '{word}' \(did you mean '{meant}'\?\)"):
        getattr(thing, word)


def test_a_name_in_the_place_of_the_function_is_told_its_option() -> None:
    with pytest.raises(InvalidOption, match="write it by its option: name='send'"):
        app.task("send")


def test_the_last_part_of_a_task_is_known() -> None:
    with pytest.raises(UnknownTask, match=r"did you mean 'shop\.add'"):
        app.core.task_of("addd")


def test_what_there_is_not_has_no_hint() -> None:
    with pytest.raises(AttributeError, match=r"has no 'every'$"):
        _ = add.every


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: add.options(when=3), "'run_at'"),
        (lambda: add.options(at=3), "'run_at'"),
        (lambda: add.options(idempotency_key="x"), "'unique'"),
        (lambda: app.foreman(max_workers=3), "'concurrency'"),
        (lambda: Breaker(timeout=3), "'pause'"),  # type: ignore[call-arg]
        (lambda: app.jobs(older_than="5m"), "'until'"),
    ],
)
def test_an_option_of_another_library_is_known(call: Callable[[], Any], meant: str) -> None:
    with pytest.raises(UnknownOption, match=f"did you mean {meant}"):
        call()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: add.options(priority="high"), "LOW, NORMAL, HIGH, CRITICAL"),
        (lambda: Rate("100/m"), r"Rate\(100, per='1m'\)"),  # type: ignore[call-arg, arg-type]
        (lambda: app.include("no_such.module"), "there is no module 'no_such.module'"),
        (lambda: Treadle("sqlte:///jobs.db"), r"did you mean 'sqlite'\?"),
        (lambda: Treadle("http://x"), "'http://x' names no backend"),
        (lambda: Treadle("sqlite://jobs.db"), "names no file. Write sqlite:///jobs.db"),
        (lambda: Treadle("sqlite:///jobs\0.db"), "names no file. Write sqlite:///jobs.db"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_one_that_does(
    call: Callable[[], Any], says: str
) -> None:
    with pytest.raises(InvalidOption, match=says):
        call()


def test_a_foreman_in_plain_code_is_told_where_it_lives() -> None:
    with pytest.raises(UsageError, match=r"async with app\.foreman\(\)"), app.foreman():
        pass


def connect() -> dict[str, int]:
    return {}


def test_a_plain_call_says_that_nothing_was_injected() -> None:
    @app.task(name="shop.report")
    def report(ctx: Context = CONTEXT) -> None:
        ctx.progress(1)

    @app.task(name="shop.store")
    def store(db: Any = Depends(connect)) -> None:
        db["n"] = 1

    with pytest.raises(AttributeError, match=r"CONTEXT\.progress was used.*given .* by hand"):
        report()
    with pytest.raises(UsageError, match=r"Depends\(connect\)\['n'\] was used.*by hand"):
        store()
    table: dict[str, int] = {}
    store(db=table)
    assert table == {"n": 1}


def test_a_default_that_would_never_be_filled_is_refused() -> None:
    def none(ctx: Context = None) -> None: ...  # type: ignore[assignment]

    def not_called(db: Any = Depends) -> None: ...

    def optional(ctx: Context | None = None) -> None: ...

    with pytest.raises(InvalidOption, match="write 'ctx: Context = CONTEXT'"):
        app.task(name="none")(none)
    with pytest.raises(InvalidOption, match=r"Depends itself .* Depends\(get_db\)"):
        app.task(name="not_called")(not_called)
    app.task(name="optional")(optional)  # a choice: it is not injected
