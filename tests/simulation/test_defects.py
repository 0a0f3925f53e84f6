"""Defects that are planted in a foreman or its store: the simulation finds each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from treadle.backends.memory import client, extend, gate
from treadle.backends.memory.store import Store
from treadle.errors import BackendError
from treadle.foreman import attempts
from treadle.foreman.attempts import Attempts
from treadle.foreman.claimer import Claimer
from treadle.foreman.heartbeat import Heartbeat
from treadle.foreman.running import Running
from treadle.foreman.settler import Settler
from treadle.ports import Claim, Claimed, Settlement
from treadle.records import Pushed, PushStatus, Renewal, Settled
from treadle.sending import Repeats
from treadle.testing.simulation import Outcome, __main__, simulate
from treadle.verdicts import Released

SEEDS = 40


def found(words: str) -> Outcome:
    """The first outcome that says so."""
    for seed in range(SEEDS):
        outcome = simulate(seed)
        if any(words in line for line in outcome.broken):
            return outcome
    raise AssertionError(f"{SEEDS} seeds do not find it")


def test_an_enqueue_that_is_said_to_be_accepted_and_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hopeful(self: Repeats, jobs: Any) -> Any:
        try:
            return await self._backend.push(jobs)
        except (BackendError, OSError):
            return [Pushed(PushStatus.CREATED)] * len(jobs)

    monkeypatch.setattr(Repeats, "push", hopeful)
    found("was accepted, and is lost")


def store_defect(
    monkeypatch: pytest.MonkeyPatch, name: str, bad: Callable[[Callable[..., Any]], Any]
) -> None:
    monkeypatch.setattr(client, name, bad(getattr(client, name)))


def test_a_store_that_settles_without_looking_at_the_fence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unfenced(settle: Callable[..., Any]) -> Any:
        def trusting(store: Store, ends: Any) -> Any:
            return [Settled.OK if one is Settled.LOST else one for one in settle(store, ends)]

        return trusting

    store_defect(monkeypatch, "settle", unfenced)
    found("was settled, and a later fence is out")


def test_a_store_that_renews_whatever_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = extend.extend
    monkeypatch.setattr(
        extend,
        "extend",
        lambda *args: [Renewal.HELD if one is Renewal.LOST else one for one in honest(*args)],
    )
    found("was renewed, and is over")


def test_a_store_that_lets_everybody_through_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_full", lambda *_: None)
    found("others hold it")


def test_a_foreman_that_does_not_look_at_the_end_of_its_leases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Heartbeat, "_end_overdue", lambda _: None)
    found("goes on, and its foreman must know that its lease is over")


def test_a_foreman_that_never_renews(monkeypatch: pytest.MonkeyPatch) -> None:
    async def renewed(_: Heartbeat) -> bool:
        return True

    monkeypatch.setattr(Heartbeat, "_renew", renewed)
    monkeypatch.setattr(Heartbeat, "_pressing", lambda *_: False)
    found("lapsed, and nothing had happened to its foreman")


def test_a_foreman_that_gives_up_verdicts_that_were_not_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def once(self: Settler, batch: list[Settlement]) -> Sequence[Settled]:
        try:
            return await self._jobs.settle(batch)
        except (BackendError, OSError):
            return [Settled.LOST] * len(batch)

    monkeypatch.setattr(Settler, "_settle", once)
    found("came to its end, and its foreman never said so")


def test_a_foreman_that_speaks_of_an_attempt_which_it_had_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = Attempts._put

    def put_once_more(self: Attempts, job: Running, *said: Any) -> None:
        put(self, job, *said)
        job.settled = False

    monkeypatch.setattr(Attempts, "_put", put_once_more)
    found("was said to be")


def test_a_foreman_that_gives_back_what_may_run_once_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "_given_back", lambda *_: Released())
    found("was given back, and had started what runs at most once")


def test_a_foreman_that_does_not_ask_again_what_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask_once(self: Claimer, ask: Claim) -> Claimed | None:
        try:
            return await self._send(ask)
        except (BackendError, OSError) as error:
            await self._rest(error)
            return None

    monkeypatch.setattr(Claimer, "_ask", ask_once)
    found("claims anew, and does not know what claim")


def test_a_seed_that_finds_something_says_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gate, "_full", lambda *_: None)
    outcome = found("others hold it")
    assert f"python -m treadle.testing.simulation {outcome.seed} --trace" in str(outcome)
    assert __main__.main([str(outcome.seed), "--trace"]) == 1
    assert capsys.readouterr().out.splitlines()[: len(outcome.trace)] == list(outcome.trace)
    monkeypatch.undo()
    assert __main__.main(["0", "--to", "2"]) == 0
    assert capsys.readouterr().out == "0 of 3 seeds broke promises\n"
