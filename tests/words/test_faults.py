"""Errors as data: all of it, bounded, whatever the error does when it is looked at."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import Fail, JobFailed, RetryLater
from treadle.faults import Fault, capture, rebuild

WHOLE = 64 << 10
EACH = 16 << 10


class Custom(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code


class Needy(Exception):
    """Its text needs what only its constructor sets."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


def raised(make: Callable[[], BaseException]) -> BaseException:
    try:
        raise make()
    except BaseException as error:  # noqa: BLE001
        return error


def size(fault: Fault) -> int:
    return len(msgspec.msgpack.encode(fault))


def all_of(fault: Fault) -> Iterator[Fault]:
    yield fault
    for cause in fault.causes:
        yield from all_of(cause)


def test_a_fault_says_what_python_would_print() -> None:
    fault = capture(raised(lambda: Custom(3, "broken")))
    assert fault.type == f"{__name__}.Custom"
    assert fault.message == "broken (3)"
    lines = fault.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{__file__}", line ')
    assert lines[1].endswith(", in raised")
    assert lines[2] == "    raise make()"
    assert lines[-1] == f"{__name__}.Custom: broken (3)"
    assert fault.causes == ()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fault), type=Fault) == fault


def test_builtin_errors_have_their_plain_name() -> None:
    assert capture(ValueError("x")).type == "ValueError"
    assert capture(ValueError()).traceback == "ValueError\n"


def test_local_variables_are_not_kept() -> None:
    def secretive() -> None:
        password = "hunter2"
        raise ValueError(len(password))

    with pytest.raises(ValueError, match="7") as caught:
        secretive()
    fault = capture(caught.value)
    assert "hunter2" not in fault.traceback.replace('password = "hunter2"', "")


def chained() -> BaseException:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError:
        try:
            raise TypeError("third")
        except TypeError as error:
            return error


def test_causes_and_contexts_are_nested_nearest_first() -> None:
    fault = capture(chained())
    assert [one.type for one in all_of(fault)] == ["TypeError", "ValueError", "KeyError"]


def test_a_suppressed_context_is_left_out() -> None:
    def hide() -> None:
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    with pytest.raises(ValueError, match="shown") as caught:
        hide()
    assert capture(caught.value).causes == ()


def test_members_of_a_group_are_kept() -> None:
    cause = OSError("cause")
    group = ExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [TypeError("b")])])
    group.__cause__ = cause
    types = [one.type for one in all_of(capture(group))]
    assert types == ["ExceptionGroup", "OSError", "ValueError", "ExceptionGroup", "TypeError"]


def test_notes_are_kept() -> None:
    error = ValueError("x")
    error.add_note("first")
    error.add_note("second")
    assert capture(error).notes == ("first", "second")


# ---------------------------------------------------------------- whose frames


def module(tmp_path: Path, name: str, source: str) -> Any:
    path = tmp_path / f"{name.replace('.', '_')}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


CALLS = "def run(fn):\n    return fn()\n"
RAISES = "def boom():\n    raise ValueError('boom')\n"


@pytest.mark.parametrize(
    ("plumbing", "user", "first"),
    [
        ("treadle.foreman.attempt", "shop.tasks", "boom"),
        ("concurrent.futures.thread", "shop.tasks", "boom"),
        ("treadlelike.tasks", "shop.tasks", "run"),
        ("treadle.demo.tasks", "shop.tasks", "run"),
        ("treadle.foreman.attempt", "treadle.context", "run"),
    ],
)
def test_the_traceback_starts_at_the_users_frame(
    tmp_path: Path, plumbing: str, user: str, first: str
) -> None:
    run = module(tmp_path, plumbing, CALLS).run
    boom = module(tmp_path, user, RAISES).boom
    # A frame of this test is the first one; it stands for nothing, so it is taken off.
    with pytest.raises(ValueError, match="boom") as caught:
        run(boom)
    trace = caught.value.__traceback__
    assert trace is not None
    fault = capture(caught.value.with_traceback(trace.tb_next))
    names = [line.rpartition(" in ")[2] for line in fault.traceback.splitlines() if " in " in line]
    assert names == (["run", "boom"] if first == "run" else ["boom"])


def test_frames_of_ours_behind_the_users_are_kept(tmp_path: Path) -> None:
    user = module(tmp_path, "shop.tasks", CALLS).run
    ours = module(tmp_path, "treadle.context", RAISES).boom
    with pytest.raises(ValueError, match="boom") as caught:
        user(ours)
    assert "in boom" in capture(caught.value).traceback


# ---------------------------------------------------------------- bounds


def test_a_deep_stack_keeps_its_ends() -> None:
    def down(n: int) -> None:
        if n == 0:
            raise ValueError("bottom")
        down(n - 1)

    with pytest.raises(ValueError, match="bottom") as caught:
        down(300)
    text = capture(caught.value).traceback
    assert "more frames …" in text
    assert text.count("in down") == 39
    assert 'raise ValueError("bottom")' in text
    assert text.endswith("ValueError: bottom\n")


def test_running_out_of_stack_is_captured() -> None:
    def forever() -> None:
        forever()

    with pytest.raises(RecursionError) as caught:
        forever()
    assert capture(caught.value).type == "RecursionError"


def links(count: int) -> BaseException:
    error: BaseException | None = None
    for number in range(count):
        outer = ValueError(f"{number}" + "x" * 5000)
        outer.__cause__ = error
        error = outer
    assert error is not None
    return error


def ring() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first
    return first


class Broken(Exception):
    def __init__(self, how: BaseException) -> None:
        self.how = how

    def __str__(self) -> str:
        raise self.how


class BadNotes(Exception):
    __notes__: Any = 5


class Odd(str):
    __slots__ = ()

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        raise ZeroDivisionError

    def __len__(self) -> int:
        return 1


class OddText(Exception):
    def __str__(self) -> str:
        return Odd("odd")


def with_notes(notes: Any) -> BaseException:
    error = ValueError("x")
    error.__notes__ = notes
    return error


NASTY: list[Callable[[], BaseException]] = [
    lambda: ValueError("x" * 10_000_000),
    lambda: ValueError("€" * 100_000),
    lambda: ValueError("\udcff" * 100_000),
    lambda: ValueError("nul \0 byte"),
    lambda: Broken(ValueError("inner")),
    lambda: Broken(RecursionError()),
    lambda: Broken(MemoryError()),
    lambda: Broken(SystemExit(3)),
    lambda: Broken(GeneratorExit()),
    lambda: OddText(),
    lambda: BadNotes(),
    lambda: with_notes(5),
    lambda: with_notes([1, "x" * 100_000, Broken(ValueError())] * 100),
    lambda: with_notes("text"),
    ring,
    lambda: links(3),
    lambda: links(5000),
    lambda: ExceptionGroup("g", [ValueError("é" * 50_000) for _ in range(1000)]),
    lambda: BaseExceptionGroup("g", [KeyboardInterrupt(), SystemExit(1)]),
    lambda: type("N" * 100_000, (Exception,), {})("x"),
    lambda: type("N", (Exception,), {"__module__": 5})("x"),
    lambda: MemoryError(),
    lambda: KeyboardInterrupt(),
]


@pytest.mark.parametrize("make", NASTY, ids=range(len(NASTY)))
def test_capture_never_raises_and_is_bounded(make: Callable[[], BaseException]) -> None:
    for error in (make(), raised(make)):
        fault = capture(error)
        assert fault.type
        assert size(fault) <= WHOLE
        for one in all_of(fault):
            assert len(one.traceback.encode()) <= EACH
            assert "\0" not in one.traceback + one.message
            assert one.traceback.endswith("\n") or size(fault) > EACH


@given(st.text(), st.lists(st.text()))
def test_any_text_can_be_captured(message: str, notes: list[str]) -> None:
    error = ValueError(message)
    for note in notes:
        error.add_note(note)
    fault = capture(error)
    assert size(fault) <= WHOLE
    assert fault.message == message.replace("\0", "\\0")


def test_a_source_that_cannot_be_read_leaves_the_frame() -> None:
    class Loader:
        def get_source(self, name: str) -> str:
            raise ZeroDivisionError(name)

    space: dict[str, Any] = {"__name__": "gone", "__loader__": Loader(), "__file__": "gone.py"}
    with pytest.raises(ValueError, match="x") as caught:
        exec(compile("raise ValueError('x')", "gone.py", "exec"), space)
    assert 'File "gone.py", line 1, in <module>\nValueError: x' in capture(caught.value).traceback


# ---------------------------------------------------------------- the error again


def test_an_allowed_error_is_rebuilt_with_the_fault() -> None:
    fault = capture(raised(lambda: Custom(3, "broken")))
    error = rebuild(fault, [KeyError, Custom])
    assert type(error) is Custom
    assert str(error) == "broken (3)"
    assert isinstance(error.__cause__, JobFailed)
    assert error.__cause__.fault == fault
    assert "raise make()" in str(error.__cause__)


def test_notes_come_back() -> None:
    error = ValueError("x")
    error.add_note("a note")
    back = rebuild(capture(error), [ValueError])
    assert back is not None
    assert back.__notes__ == ["a note"]


@pytest.mark.parametrize(
    "error", [KeyError("k"), KeyError(("a", 1)), LookupError("x"), Fail("no"), RetryLater("later")]
)
def test_the_text_is_the_same(error: BaseException) -> None:
    back = rebuild(capture(error), [type(error)])
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_what_is_not_allowed_is_not_rebuilt() -> None:
    fault = capture(Custom(3, "x"))
    assert rebuild(fault, []) is None
    assert rebuild(fault, [Exception, ValueError]) is None  # a base is not the class
    assert rebuild(Fault(type="os.system", message="true"), [ValueError, OSError]) is None


def test_names_in_a_fault_import_nothing() -> None:
    before = set(sys.modules)
    assert rebuild(Fault(type="antigravity.Error"), [ValueError]) is None
    assert set(sys.modules) == before


def test_constructors_do_not_run() -> None:
    ran: list[str] = []

    class Harmful(OSError):
        def __new__(cls, *args: Any) -> Self:
            ran.append("new")
            return super().__new__(cls, *args)

        def __init__(self, *args: Any) -> None:
            ran.append("init")

    fault = capture(Harmful("x"))
    ran.clear()
    assert type(rebuild(fault, [Harmful])) is Harmful
    assert ran == []


def test_what_cannot_be_made_without_its_constructor_is_left_to_the_caller() -> None:
    assert rebuild(capture(Needy(3)), [Needy]) is None
    assert rebuild(capture(ExceptionGroup("g", [ValueError()])), [ExceptionGroup]) is None


@given(st.sampled_from(["KeyError", "OSError", "UnicodeDecodeError", "SystemExit"]), st.text())
def test_any_stored_fault_is_rebuilt_or_not(name: str, message: str) -> None:
    allowed = [KeyError, OSError, UnicodeDecodeError, SystemExit]
    back = rebuild(Fault(type=name, message=message), allowed)
    assert back is None or type(back).__name__ == name
    with contextlib.suppress(Exception):
        assert name == "KeyError" or message in str(back) or back is None
