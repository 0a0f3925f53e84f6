"""Random histories of the PostgreSQL store beside that in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis.internal.conjecture import engine

from tests.backends.postgres_support import drop, empty, postgres_url
from tests.model import postgres_insides
from treadle.backends.postgres import connect
from treadle.ports import Backend
from treadle.testing.model import Make, Setup, check_model

__all__ = ["postgres_url"]

pytestmark = [
    pytest.mark.random,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("short_patience"),
]


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that fails is made shorter for half a minute; by itself Hypothesis takes five."""
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", 30)


@pytest.fixture(scope="module")
def make(postgres_url: str) -> Iterator[Make]:
    """Backends over one namespace, which is empty when a history begins."""
    namespace = f"model{os.getpid()}"
    last: list[object] = []

    def made(setup: Setup) -> Backend:
        if setup.folder not in last:
            empty(postgres_url, namespace)
            last[:] = [setup.folder]
        return connect(
            postgres_url,
            clock=setup.clock,
            ids=setup.ids,
            namespace=namespace,
            max_failed=setup.max_failed,
        )

    yield made
    drop(postgres_url, namespace)


@pytest.mark.parametrize("start", [1, 2])
def test_it_answers_what_memory_answers(make: Make, start: int) -> None:
    check_model(make, start=start, insides=postgres_insides.check, examples=5, steps=25)


def test_keys_and_slots_are_kept(make: Make) -> None:
    check_model(make, lines=True, start=1, insides=postgres_insides.check, examples=5, steps=25)


@pytest.mark.parametrize("most", [0, 1])
def test_the_oldest_failures_go_as_in_memory(make: Make, most: int) -> None:
    check_model(
        make, start=1, insides=postgres_insides.check, max_failed=most, examples=5, steps=25
    )


@pytest.mark.slow
def test_the_oldest_failures_go_as_in_memory_in_long_histories(make: Make) -> None:
    check_model(make, start=1, insides=postgres_insides.check, max_failed=2, examples=25, steps=50)


@pytest.mark.slow
def test_it_answers_what_memory_answers_in_long_histories(make: Make) -> None:
    check_model(make, start=1, insides=postgres_insides.check, examples=25, steps=50)


@pytest.mark.slow
def test_keys_and_slots_are_kept_in_long_histories(make: Make) -> None:
    check_model(make, lines=True, start=1, insides=postgres_insides.check, examples=25, steps=50)
