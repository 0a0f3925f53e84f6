"""One tree of errors: drawn as it is, and each of them can be sent to another process."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator
from datetime import timedelta

import pytest

from treadle import errors
from treadle.errors import JobFailed, RetryLater, TreadleError
from treadle.faults import Fault

ALL = [value for value in vars(errors).values() if inspect.isclass(value)]
TREE = [kind for kind in ALL if issubclass(kind, TreadleError)]


def drawn() -> Iterator[tuple[str, str, str]]:
    """Name, base and the builtin class in parentheses, from the picture in the docstring."""
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip(" │├└─").split(" ")[0]
        if not name or name not in vars(errors):
            continue
        level = line.index(name)
        while above and above[-1][0] >= level:
            above.pop()
        builtin = line.rpartition("(")[2].rstrip(")") if line.endswith(")") else ""
        yield name, above[-1][1] if above else "", builtin
        above.append((level, name))


def test_the_picture_is_the_tree() -> None:
    shown = {name: (base, builtin) for name, base, builtin in drawn()}
    assert shown.keys() == {kind.__name__ for kind in TREE}
    for kind in TREE:
        base, builtin = shown[kind.__name__]
        ours = [one.__name__ for one in kind.__bases__ if issubclass(one, TreadleError)]
        others = [one.__name__ for one in kind.__bases__ if not issubclass(one, TreadleError)]
        assert (ours[:1] or [""])[0] == base
        if kind is not TreadleError:
            assert others == ([builtin] if builtin else [])


def test_all_of_them_are_public() -> None:
    assert set(errors.__all__) == {kind.__name__ for kind in TREE}
    assert errors.__all__ == sorted(errors.__all__)


@pytest.mark.parametrize("kind", TREE)
def test_each_can_be_pickled(kind: type[TreadleError]) -> None:
    error = kind("what is wrong and what to do")
    error.__dict__["extra"] = ("a", 1)
    error.add_note("a note")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == "what is wrong and what to do"
    assert back.__dict__ == error.__dict__
    assert back.__notes__ == ["a note"]


@pytest.mark.parametrize("kind", TREE)
def test_each_says_what_it_is_and_can_be_subclassed(kind: type[TreadleError]) -> None:
    assert kind.__doc__

    class Own(kind):  # type: ignore[misc, valid-type]
        pass

    with pytest.raises(kind, match="mine"):
        raise Own("mine")


def test_details_are_attributes() -> None:
    assert TreadleError("x", queue="mail", bound=3).__dict__ == {"queue": "mail", "bound": 3}


def test_a_delay_is_seconds() -> None:
    assert RetryLater("x", delay=timedelta(minutes=2)).delay == 120.0
    assert RetryLater("x").delay is None
    back = pickle.loads(pickle.dumps(RetryLater("x", delay=5, restart_worker=True)))
    assert (back.reason, back.delay, back.restart_worker) == ("x", 5, True)


def test_a_failed_job_shows_the_traceback_it_failed_with() -> None:
    fault = Fault(type="ValueError", message="x", traceback="Traceback …\nValueError: x\n")
    assert (
        str(JobFailed("job 1 failed", fault=fault)) == "job 1 failed\n\nTraceback …\nValueError: x"
    )
    assert str(JobFailed("job 1 failed")) == "job 1 failed"
    assert pickle.loads(pickle.dumps(JobFailed("j", fault=fault))).fault == fault
