"""What a worker may ask of a cluster, checked where it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from treadle import Pool, Treadle, Worker
from treadle.errors import InvalidOption, UnknownOption, Unsupported
from treadle.pools.options import Mode, read_pool_options
from treadle.pools.rayoptions import RayNeeds


class Anyone(Worker):
    """Does nothing."""


def needs(given: Any) -> RayNeeds:
    return read_pool_options({"mode": "ray", "ray": given}).ray


def test_needs_are_kept_as_they_are_given() -> None:
    given = {
        "address": "head:6379",
        "num_cpus": 0.5,
        "num_gpus": 2,
        "resources": {"disk": 1},
        "runtime_env": {"pip": ["numpy"]},
    }
    assert needs(given) == RayNeeds(**given)
    assert needs(given).amounts == {"CPU": 0.5, "GPU": 2, "disk": 1}


def test_without_needs_a_worker_takes_nothing() -> None:
    assert needs({}).amounts == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_cpus": -1}, r"ray\['num_cpus'\]=-1 has to be a number from 0 on"),
        ({"num_cpus": True}, "a number from 0 on"),
        ({"num_cpus": float("nan")}, "a number from 0 on"),
        ({"num_gpus": 1.5}, "a whole number, or a part of one"),
        ({"num_gpus": "1"}, "a number from 0 on"),
        ({"resources": ["disk"]}, "a mapping of names to numbers"),
        ({"resources": {"disk": "much"}}, "a number from 0 on"),
        ({"resources": {"GPU": 1}}, "of other resources; GPU is num_gpus"),
        ({"runtime_env": "env"}, "a mapping, as for ray.init"),
        ({"address": ""}, "the address of a cluster"),
        (4, "a mapping of address, num_cpus"),
    ],
)
def test_what_cannot_work_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        needs(given)


def test_the_nearest_known_word_is_named() -> None:
    with pytest.raises(UnknownOption, match="did you mean 'num_gpus'"):
        needs({"num_gpu": 1})


@pytest.mark.parametrize("mode", ["sync", "thread", "asyncio", "process"])
def test_other_modes_have_no_cluster(mode: Mode) -> None:
    with pytest.raises(InvalidOption, match="ray is of mode='ray', not of"):
        Anyone.options(mode=mode, ray={"num_cpus": 1})


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"pip install 'treadle\[ray\]'"):
        Pool("ray")


def test_needs_are_a_mapping_of_any_kind() -> None:
    class Settings(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            return {"num_cpus": 2}[name]

        def __iter__(self) -> Any:
            return iter(["num_cpus"])

        def __len__(self) -> int:
            return 1

    assert needs(Settings()).num_cpus == 2


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.leaves("socket:*")
def test_calls_of_tasks_have_what_the_task_asks_for() -> None:
    def amount() -> float:
        import ray

        context: Any = ray.get_runtime_context()
        return float(context.get_assigned_resources()["CPU"])

    with Treadle("memory://") as app:
        half = app.task(name="half", mode="ray", max_workers=1, ray={"num_cpus": 0.5})(amount)
        quarter = app.task(name="quarter", mode="ray", max_workers=1, ray={"num_cpus": 0.25})(
            amount
        )
        assert half.submit().result(60) == 0.5
        assert quarter.submit().result(60) == 0.25
