"""The retry of one call: what a job can carry of it, and what it does there."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policies.kit import FIRST, Dice
from treadle.errors import InvalidOption
from treadle.policies import Retry, backoff
from treadle.policies.backoff import Backoff, Fixed
from treadle.policies.retry import RetryState
from treadle.policies.stored import restored, stored
from treadle.records import NewJob, StoredRetry

NOW = 1_800_000_000.0


class Refused(ConnectionError):
    """An error of this module."""


def carried(retry: Retry, task: Retry = Retry(0)) -> Retry:
    """The retry after a way through a store."""
    job = NewJob(id="j", task="t", payload=b"", retry=stored(retry))
    back = msgspec.msgpack.decode(msgspec.msgpack.encode(job), type=NewJob)
    assert back.retry is not None
    return restored(back.retry, task.replace(max=retry.max))


def pause(retry: Retry, error: BaseException, tries: int = 0, chance: float = 0.0) -> float | None:
    return retry.after(RetryState(tries=tries), NOW, error, FIRST, Dice(chance))[0]


BACKOFFS: dict[str, Backoff] = {
    "fixed": backoff.fixed("3s", jitter=0.5),
    "linear": backoff.linear("1s", "4s", max="9s", jitter=True),
    "exponential": backoff.exponential("2s", factor=3, max="40s", jitter=0.1),
    "fibonacci": backoff.fibonacci("2s", max="30s", jitter=0.2),
    "decorrelated": backoff.decorrelated("2s", max="50s", factor=4),
}


@pytest.mark.parametrize("word", BACKOFFS)
@given(tries=st.integers(0, 12), chance=st.floats(0, 1))
def test_every_backoff_pauses_as_it_would_in_the_task(word: str, tries: int, chance: float) -> None:
    retry = Retry(20, backoff=BACKOFFS[word])
    error = ValueError()
    assert pause(carried(retry), error, tries, chance) == pause(retry, error, tries, chance)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionResetError(), True),
        (OSError(), True),
        (Refused(), False),
        (ValueError(), False),
        (ExceptionGroup("one", [OSError()]), True),
    ],
)
def test_errors_are_known_by_the_names_of_their_classes(error: Exception, again: bool) -> None:
    retry = carried(Retry(1, on=OSError, give_up_on=Refused, backoff=1))
    assert (pause(retry, error) is not None) is again


def test_without_classes_every_error_is_tried_again_and_none_given_up() -> None:
    retry = carried(Retry(1, backoff=1), task=Retry(9, on=OSError, give_up_on=ValueError))
    assert pause(retry, ValueError()) == 1


def test_the_bound_on_what_an_error_may_ask_for_goes_along() -> None:
    error = ValueError()
    error.retry_after = 500.0  # type: ignore[attr-defined]
    assert pause(carried(Retry(1, max_retry_after="1m")), error) == 60


def test_validators_stay_those_of_the_task() -> None:
    assert carried(Retry(1), task=Retry(3, until=bool)).until == (bool,)


class Patient(Fixed):
    """A backoff of somebody's own."""


def predicate(error: BaseException) -> bool:
    return True


class Foreign(Exception):
    """As a class of a script."""


Foreign.__module__ = "__main__"


@pytest.mark.parametrize(
    ("retry", "words"),
    [
        (Retry(1, on=predicate), "on=.*predicate.*a predicate is a function"),
        (Retry(1, on=[OSError, predicate]), "on=.*predicate"),
        (Retry(1, give_up_on=predicate), "give_up_on=.*predicate"),
        (Retry(1, until=bool), "until=.*validators are functions"),
        (Retry(1, backoff=lambda attempt: attempt), "backoff=.*a function or a class"),
        (Retry(1, backoff=Patient(1)), "backoff=Patient.*a function or a class"),
        (Retry(1, on=Foreign), "on=Foreign is in __main__.*a module of its own"),
    ],
)
def test_code_is_refused_with_the_way_out(retry: Retry, words: str) -> None:
    with pytest.raises(InvalidOption, match=words) as caught:
        stored(retry)
    assert caught.value.option == "retry"
    if "__main__" not in words:
        assert "declare it with the task" in str(caught.value)


@pytest.mark.parametrize(
    "unknown",
    [
        StoredRetry(backoff="quantum", pauses={"spin": 0.5}),
        StoredRetry(backoff="fixed", pauses={"spin": 0.5}),
        StoredRetry(backoff="fixed", pauses={"pause": -1.0}),
    ],
)
def test_a_backoff_of_a_later_version_gives_way_to_that_of_the_task(unknown: StoredRetry) -> None:
    assert restored(unknown, Retry(2, backoff=7)).backoff == Fixed(7)
