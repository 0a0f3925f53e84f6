"""Fixtures for tests of an application, found by pytest when Treadle is installed.

``treadle_app`` is the app with a private, empty store in memory. Which app, is said in the
configuration of pytest (``treadle_app = "package.module:app"``), by a marker
(``@pytest.mark.treadle("package.module:app")``), or by overriding ``treadle_source``.

``treadle_clock`` is a :class:`~treadle.testing.ManualClock`. A test that asks for both has the
app run on that clock; one that asks for the app alone has it run in real time. Nothing happens
in tests that ask for neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from treadle.app import Treadle
    from treadle.testing.clock import ManualClock

_MARKERS = (
    'treadle(app, url="memory://", eager=False): the app of treadle_app, and where it lives',
    "leaves(*kinds_or_globs): what the test may leave behind; see treadle.testing.no_leaks",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option of the configuration file."""
    parser.addini("treadle_app", "the app of the fixture treadle_app: package.module:app")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


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
            yield treadle_source
            # The loop that carried out blocking verbs still has a client of this store.
            core.background.close()
    finally:
        core.clock, core.ids = clock, ids


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the nearest marker says."""
    marker = request.node.get_closest_marker("treadle")
    if marker is None:
        return {}
    known = {"app", "url", "eager"}
    if len(marker.args) > 1 or not known >= set(marker.kwargs):
        raise pytest.UsageError(f"@pytest.mark.treadle takes one app and {sorted(known)}")
    return {**({"app": marker.args[0]} if marker.args else {}), **marker.kwargs}
