"""Fixtures for tests of an application, found by pytest when Treadle is installed.

``treadle_app`` is the app with a private, empty store in memory. Which app, is said in the
configuration of pytest (``treadle_app = "package.module:app"``), by a marker
(``@pytest.mark.treadle("package.module:app")``), or by overriding ``treadle_source``.

A test marked ``@pytest.mark.treadle(crash="everywhere")`` runs once as it is, and then once for
each step of the protocol that its jobs have passed; each time the foreman of its ``drain`` is
killed at that step, and another one goes on. What the test asserts must hold every time.

``treadle_clock`` is a :class:`~treadle.testing.ManualClock`. A test that asks for both has the
app run on that clock; one that asks for the app alone has it run in real time. Nothing happens
in tests that ask for neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

if TYPE_CHECKING:
    from collections.abc import Generator

    from treadle.app import Treadle
    from treadle.testing.clock import ManualClock
    from treadle.testing.crashes import Crash

_MARKERS = (
    'treadle(app, url="memory://", eager=False, crash=None): the app of treadle_app; "everywhere"',
    "leaves(*kinds_or_globs): what the test may leave behind; see treadle.testing.no_leaks",
)

_CRASH: pytest.StashKey[Crash] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option of the configuration file."""
    parser.addini("treadle_app", "the app of the fixture treadle_app: package.module:app")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test that is marked so once for each step at which its foreman can be killed."""
    marker = item.get_closest_marker("treadle")
    if marker is None or marker.kwargs.get("crash") != "everywhere":
        return None
    from treadle.testing.crashes import Crash

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    steps = item.stash[_CRASH] = Crash()
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for step in steps.passed:
        if not all(report.passed for report in reports):
            break
        item.stash[_CRASH] = Crash(step)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say at which step the foreman was killed."""
    crash = item.stash.get(_CRASH, None)
    if crash is not None and crash.at is not None and call.excinfo is not None:
        call.excinfo.value.add_note(f"when the foreman was killed at {crash.at}")
    return (yield)


@pytest.fixture
def treadle_clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    from treadle.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def treadle_source(request: pytest.FixtureRequest) -> Treadle:
    """The app itself, as the application has it. Override it where a name is not enough."""
    from treadle.target import core_of, load

    named = _marked(request).get("app") or request.config.getini("treadle_app")
    if not named:
        raise pytest.UsageError(
            "treadle_app does not know the app: set treadle_app = 'package.module:app' in the "
            "configuration of pytest, mark the test with @pytest.mark.treadle('module:app'), or "
            "override the fixture treadle_source to return the app"
        )
    app: Any = load(named) if isinstance(named, str) else named
    core_of(app, str(named))
    return app  # type: ignore[no-any-return]


@pytest.fixture
def treadle_app(request: pytest.FixtureRequest, treadle_source: Treadle) -> Iterator[Treadle]:
    """The app with a private, empty store; on ``treadle_clock``, if the test asks for that too."""
    marked = _marked(request)
    core = treadle_source.core
    clock, ids = core.clock, core.ids
    if "treadle_clock" in request.fixturenames:
        from treadle.ids import SystemIds

        core.clock = request.getfixturevalue("treadle_clock")
        core.ids = SystemIds(core.clock)
    try:
        with treadle_source.override(url=marked.get("url", "memory://"), eager=marked.get("eager")):
            crash = request.node.stash.get(_CRASH, None)
            if crash is not None:
                crash.attach(core)
            yield treadle_source
            if crash is not None:
                crash.detach()
                _check_drained(crash)
            # The loop that carried out blocking verbs still has a client of this store.
            core.background.close()
    finally:
        core.clock, core.ids = clock, ids


def _check_drained(crash: Crash) -> None:
    if crash.at is None and not crash.passed:
        raise pytest.UsageError(
            'crash="everywhere" found no step at which a foreman could be killed: enqueue a job of '
            "treadle_app in this test, and drain it with treadle.testing.drain"
        )


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the nearest marker says."""
    marker = request.node.get_closest_marker("treadle")
    if marker is None:
        return {}
    known = {"app", "url", "eager", "crash"}
    if len(marker.args) > 1 or not known >= set(marker.kwargs):
        raise pytest.UsageError(f"@pytest.mark.treadle takes one app and {sorted(known)}")
    crash = marker.kwargs.get("crash")
    if crash not in (None, "everywhere") or (crash and marker.kwargs.get("eager")):
        raise pytest.UsageError(
            f"@pytest.mark.treadle(crash={crash!r}): it is 'everywhere', and not with eager=True"
        )
    return {**({"app": marker.args[0]} if marker.args else {}), **marker.kwargs}
