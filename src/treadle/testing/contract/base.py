"""The fixtures of the suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from treadle.ids import Ids, SystemIds
from treadle.ports import Backend, Feature
from treadle.testing.clock import ManualClock
from treadle.testing.contract.driver import Driver

__all__ = ["Contract", "Driver", "Make", "needs"]

Make = Callable[..., Backend]
_T = TypeVar("_T")
_NOTHING: frozenset[Feature] = frozenset()


def needs(*features: Feature) -> Callable[[_T], _T]:
    """Skip a case, or all cases of a class, where the backend does not serve the features."""

    def mark(target: _T) -> _T:
        cases = vars(target).values() if isinstance(target, type) else (target,)
        for case in cases:
            if callable(case) and getattr(case, "__name__", "").startswith("test_"):
                before: frozenset[Feature] = getattr(case, "_needs", _NOTHING)
                case.__dict__["_needs"] = before | set(features)
        return target

    return mark


class Contract:
    """The base of all classes of the suite: override :meth:`make`.

    ``make(**options)`` builds a backend over one and the same store each time it is called
    within a test, with the test's ``clock`` and ``ids``. The suite passes options of the
    constructor where a case needs them: ``max_failed``.
    """

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The time of the store."""
        return ManualClock()

    @pytest.fixture
    def ids(self, clock: ManualClock) -> Ids:
        """Where ids and nonces come from."""
        return SystemIds(clock)

    @pytest.fixture
    def make(self, clock: ManualClock, ids: Ids) -> Make:
        """Override: build a backend over the store of this test."""
        pytest.fail(f"{type(self).__name__} must override the fixture make(self, clock, ids)")

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        """Options of the constructor, where a case needs other ones than the defaults."""
        return {}

    @pytest_asyncio.fixture
    async def backend(self, make: Make, options: Mapping[str, Any]) -> AsyncIterator[Backend]:
        """The backend under test, opened."""
        backend = make(**options)
        await backend.open()
        yield backend
        await backend.aclose()
        backend.close()

    @pytest.fixture
    def store(self, backend: Backend, clock: ManualClock, ids: Ids) -> Driver:
        """The backend behind short verbs."""
        return Driver(backend, clock, ids)

    @pytest.fixture(autouse=True)
    def _served(self, request: pytest.FixtureRequest, backend: Backend) -> None:
        wanted: frozenset[Feature] = getattr(request.function, "_needs", _NOTHING)
        missing = wanted - backend.features
        if missing:
            pytest.skip(f"{backend.url} does not serve {', '.join(sorted(missing))}")
