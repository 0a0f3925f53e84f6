"""What `import treadle` gives, no more and no less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import treadle

SRC = Path(__file__).parent.parent / "src"
REFERENCE = SRC.parent / "docs" / "reference"
HEAVY = {"typer", "click", "rich", "structlog", "pydantic", "attr", "multiprocessing", "pytest"}
PUBLIC = """
    Treadle task Task Job Context CONTEXT current Depends Foreman Event
    JobState Cause Keep Unique LOW NORMAL HIGH CRITICAL
    Retry Timeout Breaker Rate Slots LimitSet LimitPool LIMITS Lock backoff
    RetryLater Skip Fail Trip Quit
    Worker Pool stopping Future gather agather wait await_for as_completed wrap_future
    TreadleError InvalidOption UnknownOption InvalidCall PayloadError NotEncodable
    QueueFull DuplicateJob OutcomeUnknown JobNotFound
    JobError JobFailed JobCancelled ResultExpired
    WaitTimeout AttemptTimeout LockTimeout LeaseLost BackendError BackendUnavailable
    WorkerError WorkerNotStarted WorkerStopped WorkerCrashed PoolFull CallCancelled
    __version__
""".split()


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=SRC,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_names_are_these() -> None:
    assert sorted(treadle.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(treadle))


@pytest.mark.parametrize("name", PUBLIC)
def test_each_is_there_and_described(name: str) -> None:
    value = getattr(treadle, name)
    assert isinstance(value, ModuleType) == (name == "backoff")
    if isinstance(value, type) or callable(value):
        assert value.__doc__, f"{name} has no docstring"
        assert value.__module__.startswith("treadle.")


@pytest.mark.parametrize("name", sorted({*PUBLIC} - {"__version__"}))
def test_the_reference_describes_it(name: str) -> None:
    pages = "".join(page.read_text("utf-8") for page in REFERENCE.glob("*.md"))
    value = getattr(treadle, name)
    if isinstance(value, ModuleType):
        home = value.__name__
    elif hasattr(value, "__qualname__"):
        home = value.__module__
    else:
        home = treadle._HOME_OF[name]
    assert f"automodule:: {home}\n" in pages


def test_a_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from treadle import *", names)
    assert set(names) - {"__builtins__"} == set(PUBLIC)


def test_a_name_that_does_not_exist_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Tredle'"):
        _ = treadle.Tredle  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="Tredle"):
        exec("from treadle import Tredle")


@pytest.mark.parametrize("first", ["treadle", "treadle.task", "treadle.app", "treadle.foreman"])
def test_the_decorator_is_not_hidden_by_its_module(first: str) -> None:
    """A package and a function share the name `task`."""
    code = f"import {first}; from treadle import task; import treadle; print(task is treadle.task)"
    assert _python(f"{code}; print(type(task).__name__)").split() == ["True", "function"]


@pytest.mark.parametrize("code", ["import treadle", "from treadle import Treadle"])
def test_what_runs_jobs_and_draws_on_the_screen_is_not_loaded(code: str) -> None:
    assert _loaded(code) & (HEAVY | {"treadle.foreman", "treadle.backends.memory"}) == set()


def test_the_package_alone_loads_nothing_of_its_own() -> None:
    own = {name for name in _loaded("import treadle") if name.startswith("treadle")}
    assert own == {"treadle", "treadle.version"}


def test_no_name_but_the_foreman_loads_what_is_heavy() -> None:
    code = "import treadle; [getattr(treadle, x) for x in treadle.__all__ if x != 'Foreman']"
    assert _loaded(code) & HEAVY == set()


def _loaded(code: str) -> set[str]:
    """The modules that are loaded after some code."""
    return set(_python(f"{code}; import sys; print(*sys.modules)").split())
