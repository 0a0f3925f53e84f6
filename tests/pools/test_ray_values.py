"""What travels to actors and back, and the cluster that is started for them."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attrs
import pytest
from pydantic import BaseModel, ValidationError

from treadle import Pool, Worker, WorkerNotStarted
from treadle.errors import NotEncodable

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.leaves("socket:*")]


@dataclass
class Plain(Worker):
    """A worker that is a dataclass."""

    factor: int

    def times(self, number: int) -> int:
        return self.factor * number


@attrs.define
class Defined(Worker):
    """A worker that is an attrs class."""

    factor: int = attrs.field(converter=int)

    def times(self, number: int) -> int:
        return self.factor * number


class Model(Worker, BaseModel):
    """A worker that is a pydantic model."""

    factor: int

    def times(self, number: int) -> int:
        return self.factor * number


@pytest.mark.parametrize("cls", [Plain, Defined, Model])
def test_workers_of_any_kind_of_class(cls: Any) -> None:
    with cls.options(mode="ray").init(factor=3) as worker:
        assert worker.times(4).result(60) == 12


def test_a_model_that_does_not_hold_is_told_to_who_made_it() -> None:
    with pytest.raises(WorkerNotStarted, match="Model could not be started") as caught:
        Model.options(mode="ray").init(factor="three")
    assert isinstance(caught.value.__cause__, ValidationError)


def test_large_values_travel_both_ways() -> None:
    whole = bytes(range(256)) * (1 << 14)
    with Pool("ray", max_workers=1) as pool:
        back = pool.submit(lambda text: text[::-1], whole).result(60)
    assert back == whole[::-1]


def test_arguments_are_those_at_the_time_of_the_call() -> None:
    given = [1]
    with Pool("ray", max_workers=1) as pool:
        future = pool.submit(list, given)
        given.append(2)
        assert future.result(60) == [1]


def test_what_cannot_travel_is_an_error_of_its_call_alone() -> None:
    with Pool("ray", max_workers=1) as pool:
        with pytest.raises(NotEncodable, match="lock"):
            pool.submit(len, threading.Lock()).result(60)
        with pytest.raises(NotEncodable, match="lock"):
            pool.submit(threading.Lock).result(60)
        assert pool.submit(len, "four").result(60) == 4
        assert pool.stats.active == 0


def test_what_one_pool_gives_is_an_argument_of_another() -> None:
    with Pool("ray", max_workers=1) as one, Pool("thread", max_workers=1) as other:
        there = one.submit(lambda: list(range(5)))
        here = other.submit(sum, there)
        assert one.submit(lambda number: number + 1, here).result(60) == 11


def test_a_worker_that_no_machine_can_hold_is_refused_at_once() -> None:
    with pytest.raises(WorkerNotStarted, match=r"needs 1 unobtainium, .* never have that"):
        Plain.options(mode="ray", ray={"resources": {"unobtainium": 1}}).init(1)


@pytest.mark.skipif(" " in sys.executable, reason="is refused, see the next test")
def test_the_environment_of_a_worker() -> None:
    needs = {"num_cpus": 0, "runtime_env": {"env_vars": {"WHERE": "there"}}}
    with Pool("ray", max_workers=1, ray=needs) as pool:
        assert pool.submit(os.getenv, "WHERE").result(100) == "there"


ENVIRONMENT = """
from treadle import Pool

needs = {"num_cpus": 0, "runtime_env": {"env_vars": {"WHERE": "there"}}}
with Pool("ray", max_workers=1, ray=needs) as pool:
    pool.submit(len, "word").result(60)
"""


def test_an_environment_that_ray_cannot_start_is_refused(tmp_path: Path) -> None:
    """It would wait for ever: Ray does not quote the path of Python."""
    spaced = tmp_path / "a folder"
    spaced.mkdir()
    (spaced / "env").symlink_to(sys.prefix)
    python = spaced / "env" / "bin" / "python"
    command = [python, "-c", ENVIRONMENT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert "WorkerNotStarted" in done.stderr, done.stderr
    assert f"path of Python, '{python}'" in done.stderr


def _listening() -> list[str]:
    """Addresses at which what this process has started listens."""
    found = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True)
    addresses: list[str] = []
    for line in found.stdout.splitlines():
        pids = re.findall(r"pid=(\d+)", line)
        if any(_is_ours(int(pid)) for pid in pids):
            addresses.append(line.split()[3])
    return addresses


def _is_ours(pid: int) -> bool:
    while pid not in (0, 1, os.getpid()):
        stat = Path(f"/proc/{pid}/stat")
        pid = int(stat.read_text().rpartition(")")[2].split()[1]) if stat.exists() else 0
    return pid == os.getpid()


@pytest.mark.skipif(not Path("/usr/bin/ss").exists(), reason="ss lists the sockets")
def test_a_cluster_of_our_own_listens_to_this_machine_only() -> None:
    with Pool("ray", max_workers=1) as pool:
        assert pool.submit(int).result(60) == 0
        listening = _listening()
    assert listening, "Ray's processes are seen"
    assert [one for one in listening if "127.0.0.1" not in one and "[::1]" not in one] == []
    ray: Any = importlib.import_module("ray")
    assert ray.get_runtime_context().gcs_address.startswith("127.0.0.1:")
    assert not logging.getLogger("ray").isEnabledFor(logging.DEBUG)
