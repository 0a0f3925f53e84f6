"""Ids: UUIDs that sort by time, are never the same, and are not shared by a fork."""

from __future__ import annotations

import os
import random  # noqa: TID251  a seeded source, to have the same chance twice
import sys
import threading
from uuid import UUID

import pytest

from treadle.ids import Ids, SystemIds


class Stopped:
    """A clock whose time is set."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.at = now

    def now(self) -> float:
        return self.at


def ids(clock: Stopped | None = None) -> SystemIds:
    return SystemIds(clock) if clock else SystemIds()  # type: ignore[arg-type]


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = UUID(ids(Stopped(1_800_000_000.125)).new())
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 80 == 1_800_000_000_125


def test_the_text_is_the_canonical_one() -> None:
    text = ids().new()
    assert text == str(UUID(text))
    assert len(text) == 36


def test_ids_of_a_process_go_up_within_a_millisecond_and_when_the_clock_goes_back() -> None:
    clock = Stopped()
    source = ids(clock)
    made = [source.new() for _ in range(10_000)]  # more than the counter has in a millisecond
    clock.at -= 3600
    made += [source.new() for _ in range(10)]
    clock.at += 7200
    made.append(source.new())
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert UUID(made[-1]).int >> 80 == int(clock.at * 1000)


def test_the_random_half_is_never_the_same_and_every_bit_of_it_changes() -> None:
    source = ids(Stopped())
    halves = [UUID(source.new()).int & ((1 << 64) - 1) for _ in range(2000)]
    assert len(set(halves)) == 2000
    ever = always = halves[0]
    for half in halves:
        ever, always = ever | half, always & half
    assert ever == (1 << 63) | ((1 << 62) - 1)
    assert always == 1 << 63


def test_ids_of_several_threads_are_never_the_same() -> None:
    source = ids()
    made: list[list[str]] = []

    def make() -> None:
        made.append([source.new() for _ in range(2000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [one for some in made for one in some]
    assert len(set(everything)) == 8000
    assert all(some == sorted(some) for some in made)


def test_two_sources_at_the_same_time_differ() -> None:
    clock = Stopped()
    assert ids(clock).new() != ids(clock).new()


def test_a_seeded_source_gives_the_same_ids_again() -> None:
    def made() -> list[object]:
        source = SystemIds(Stopped(), random.Random(7))  # type: ignore[arg-type]
        return [source.new(), source.nonce(), source.chance.random()]

    assert made() == made()


def test_nonces_are_positive_and_fit_every_store() -> None:
    source = ids()
    nonces = [source.nonce() for _ in range(2000)]
    assert all(0 <= nonce < 2**63 for nonce in nonces)
    assert len(set(nonces)) == 2000
    assert max(nonces) > 2**62


def test_chance_is_even() -> None:
    chance = ids().chance
    draws = [chance.random() for _ in range(20_000)]
    assert all(0.0 <= draw < 1.0 for draw in draws)
    assert abs(sum(draws) / len(draws) - 0.5) < 0.02
    assert all(2.0 <= chance.uniform(2, 3) <= 3.0 for _ in range(100))
    assert {chance.getrandbits(1) for _ in range(100)} == {0, 1}
    assert {chance.getrandbits(3) for _ in range(500)} == set(range(8))


def test_the_source_is_what_the_library_asks_for() -> None:
    source: Ids = SystemIds()
    assert source.new()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.skipif(sys.version_info >= (3, 15), reason="fork goes away")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_repeat_its_parent() -> None:
    source = ids()
    source.new()  # so that there is randomness to inherit
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(there, f"{source.nonce()} {source.new()}".encode())
        os._exit(0)
    os.close(there)
    os.waitpid(child, 0)
    with os.fdopen(here) as answer:
        nonce, made = answer.read().split()
    mine = [source.nonce() for _ in range(3)]
    assert int(nonce) not in mine
    assert made[19:] not in [source.new()[19:] for _ in range(100)]
