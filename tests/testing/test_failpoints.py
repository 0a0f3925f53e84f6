"""Failpoints: free when off, exact when armed, strict about names."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
import timeit
from pathlib import Path

import pytest

from treadle import failpoints
from treadle.errors import InvalidOption, UnknownOption
from treadle.failpoints import InjectedFault, active, failpoint
from treadle.testing import reached

POINT = "ack.before_send"
SOURCE = str(Path(failpoints.__file__).parents[1])


def run(program: str, rules: str, seed: str = "1") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from treadle.failpoints import failpoint\n" + program],
        env={
            "PYTHONPATH": SOURCE,
            "TREADLE_FAILPOINTS": rules,
            "TREADLE_FAILPOINTS_SEED": seed,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def passes_that_act(rule: str, seed: int, passes: int = 200) -> list[int]:
    acted = []
    with active({POINT: rule}, seed=seed):
        for number in range(1, passes + 1):
            try:
                failpoint(POINT)
            except InjectedFault:
                acted.append(number)
    return acted


def test_off_it_is_nearly_free() -> None:
    failpoint("no such point, and nobody looks")
    seconds = min(timeit.repeat(lambda: failpoint(POINT), number=10_000, repeat=5)) / 10_000
    assert seconds < 1e-6  # 50 ns on an idle machine; this one may be busy


def test_an_unknown_point_is_refused_with_a_hint() -> None:
    with (
        pytest.raises(UnknownOption, match=r"did you mean 'ack\.before_send'"),
        active({"ack.before_sent": "raise"}),
    ):
        pass


@pytest.mark.parametrize("rule", ["explode", "sleep:long", "raise@2", "raise#x", ""])
def test_a_rule_that_cannot_be_read_is_refused(rule: str) -> None:
    with pytest.raises(InvalidOption, match=r"ack\.before_send"), active({POINT: rule}):
        pass


def test_a_point_acts_only_in_its_block() -> None:
    with active({POINT: "raise"}):
        with pytest.raises(InjectedFault) as error:
            failpoint(POINT)
        failpoint("claim.before_send")
    assert error.value.point == POINT
    failpoint(POINT)


def test_blocks_nest() -> None:
    with active({POINT: "raise"}):
        with active({POINT: "drop"}), pytest.raises(ConnectionResetError):
            failpoint(POINT)
        with pytest.raises(InjectedFault):
            failpoint(POINT)


def test_a_probability_is_chosen_by_the_seed() -> None:
    first = passes_that_act("raise@0.1", seed=1)
    assert first == passes_that_act("raise@0.1", seed=1)
    assert first != passes_that_act("raise@0.1", seed=2)
    assert 5 < len(first) < 45
    assert passes_that_act("raise@0", seed=1) == []


def test_one_pass_can_be_named() -> None:
    assert passes_that_act("raise#3", seed=1) == [3]


def test_sleep_holds_the_thread() -> None:
    released = threading.Event()
    with active({POINT: "sleep:0.05"}):
        thread = threading.Thread(target=lambda: (failpoint(POINT), released.set()))
        thread.start()
        assert not released.is_set()
        thread.join(10)
    assert released.is_set()


async def test_cancel_cancels_the_running_task() -> None:
    async def work() -> None:
        failpoint(POINT)
        await asyncio.Event().wait()

    with active({POINT: "cancel"}), pytest.raises(asyncio.CancelledError, match=POINT):
        await asyncio.create_task(work())


def test_cancel_without_a_task_says_so() -> None:
    with active({POINT: "cancel"}), pytest.raises(InvalidOption, match="asyncio task"):
        failpoint(POINT)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize(("rule", "status"), [("kill9", -signal.SIGKILL), ("exit:7", 7)])
def test_the_environment_arms_a_child(rule: str, status: int) -> None:
    result = run("print('before', flush=True); failpoint('run.inside')", f"run.inside={rule}")
    assert (result.returncode, result.stdout) == (status, "before\n")


def test_the_environment_takes_several_rules() -> None:
    program = "failpoint('run.inside')\nfailpoint('ack.before_send')"
    result = run(program, " run.inside=sleep:0 ; ack.before_send=exit:9#1 ;")
    assert result.returncode == 9


def test_a_wrong_environment_is_refused_at_the_start() -> None:
    result = run("", "run.insid=raise")
    assert "did you mean 'run.inside'" in result.stderr


async def test_reached_waits_for_a_pass_in_another_thread() -> None:
    go = threading.Event()

    def work() -> None:
        go.wait()
        for _ in range(3):
            failpoint("run.inside")

    thread = threading.Thread(target=work)
    thread.start()
    async with reached("run.inside", times=3):
        go.set()
    thread.join()


async def test_reached_says_what_was_not_reached() -> None:
    with pytest.raises(AssertionError, match=r"run\.inside was passed 1 times"):
        async with reached("run.inside", times=2, patience=0.05):
            failpoint("run.inside")


async def test_reached_refuses_a_point_that_does_not_exist() -> None:
    with pytest.raises(UnknownOption):
        async with reached("run.nowhere"):
            pass


def test_the_points_in_the_code_are_known() -> None:
    placed = {
        name
        for file in Path(failpoints.__file__).parent.rglob("*.py")
        for name in re.findall(r'failpoint\("([a-z_.]+)"\)', file.read_text())
    }
    assert placed
    apart = {
        *failpoints.MESSAGE_NAMES,
        *failpoints.SHARD_NAMES,
        *failpoints.ROUTE_NAMES,
        *failpoints.SPOOL_NAMES,
    }
    known = {*failpoints.NAMES, *apart}
    assert placed <= known
