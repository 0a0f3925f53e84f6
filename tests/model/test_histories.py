"""Random histories of the backends: their answers, and what holds in them after each step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis.internal.conjecture import engine

from tests.backends.redis_server import forget
from tests.model import memory_insides, redis_insides, sqlite_insides
from treadle.backends import open as open_backend
from treadle.backends import redis as redis_backend
from treadle.backends.sqlite import connect
from treadle.ports import Backend
from treadle.testing.model import Check, Make, Setup, check_model


def sqlite(setup: Setup) -> Backend:
    url = f"sqlite:///{setup.folder / 'jobs.db'}?durability=normal"
    if setup.max_failed is not None:
        url += f"&max_failed={setup.max_failed}"
    return connect(url, clock=setup.clock, ids=setup.ids)


def memory(setup: Setup) -> Backend:
    return open_backend("memory://", clock=setup.clock, ids=setup.ids)


def redis(setup: Setup) -> Backend:
    return redis_backend.connect(
        SERVER[0],
        clock=setup.clock,
        ids=setup.ids,
        namespace=namespace_of(setup),
        max_failed=setup.max_failed,
    )


# Where the server is, and what to delete there in the end.
SERVER: list[str] = []
NAMESPACES: set[str] = set()


def namespace_of(setup: Setup) -> str:
    # The same one when the store is opened again.
    name = f"{setup.folder.parent.name}-{setup.folder.name}"
    NAMESPACES.add(name)
    return name


@pytest.fixture(autouse=True, scope="module")
def _server(redis_url: str) -> Iterator[None]:
    SERVER[:] = [redis_url]
    yield
    forget(redis_url, *NAMESPACES)


INSIDES: dict[Make, Check] = {
    sqlite: sqlite_insides.check,
    memory: memory_insides.check,
    redis: redis_insides.check,
}
pytestmark = [
    pytest.mark.random,
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("short_patience"),
]


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that fails is made shorter for half a minute; by itself Hypothesis takes five."""
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", 30)


every = pytest.mark.parametrize("make", INSIDES, ids=lambda make: make.__name__)
beside_memory = pytest.mark.parametrize(
    "make", [make for make in INSIDES if make is not memory], ids=lambda make: make.__name__
)


@beside_memory
@pytest.mark.parametrize("start", [1, 2])
def test_a_store_answers_what_memory_answers(make: Make, start: int) -> None:
    check_model(make, start=start, examples=8, steps=30)


@every
@pytest.mark.parametrize("start", [1])
def test_keys_and_slots_are_kept(make: Make, start: int) -> None:
    check_model(make, lines=True, start=start, insides=INSIDES[make], examples=8, steps=30)


@beside_memory
@pytest.mark.parametrize("most", [0, 1])
def test_the_oldest_failures_go_as_in_memory(make: Make, most: int) -> None:
    check_model(make, start=1, insides=INSIDES[make], max_failed=most, examples=8, steps=30)


@beside_memory
@pytest.mark.slow
def test_the_oldest_failures_go_as_in_memory_in_long_histories(make: Make) -> None:
    check_model(make, start=1, insides=INSIDES[make], max_failed=2, examples=25, steps=50)


@beside_memory
@pytest.mark.slow
def test_a_store_answers_what_memory_answers_in_long_histories(make: Make) -> None:
    check_model(make, start=1, insides=INSIDES[make], examples=25, steps=50)


@every
@pytest.mark.slow
def test_keys_and_slots_are_kept_in_long_histories(make: Make) -> None:
    check_model(make, lines=True, start=1, insides=INSIDES[make], examples=25, steps=50)
