"""Workers whose classes are made by others: dataclasses, attrs, pydantic, msgspec."""

from __future__ import annotations

import dataclasses
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from treadle import InvalidOption, Worker, WorkerNotStarted
from treadle.pools.options import Mode


@dataclasses.dataclass
class Data(Worker):
    name: str
    scale: int = 2
    seen: list[int] = dataclasses.field(default_factory=list)

    def grow(self, number: int) -> int:
        self.seen.append(number)
        return number * self.scale

    def history(self) -> list[int]:
        return self.seen

    def place(self) -> int:
        return self.index


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen(Worker):
    name: str
    scale: int = 2
    seen: list[int] = dataclasses.field(default_factory=list)

    def grow(self, number: int) -> int:
        self.seen.append(number)
        return number * self.scale

    def history(self) -> list[int]:
        return self.seen

    def place(self) -> int:
        return self.index


@attrs.define
class Attrs(Worker):
    name: str
    scale: int = attrs.field(default=2, validator=attrs.validators.gt(0))
    seen: list[int] = attrs.Factory(list)

    def grow(self, number: int) -> int:
        self.seen.append(number)
        return number * self.scale

    def history(self) -> list[int]:
        return self.seen

    def place(self) -> int:
        return self.index


class Model(Worker, pydantic.BaseModel):
    name: str
    scale: int = pydantic.Field(default=2, gt=0)
    seen: list[int] = []
    _calls: int = pydantic.PrivateAttr(default=0)

    def grow(self, number: int) -> int:
        self._calls += 1
        self.seen.append(number)
        return number * self.scale

    def history(self) -> list[int]:
        return self.seen

    def place(self) -> int:
        return self.index

    def dumped(self) -> dict[str, Any]:
        return self.model_dump()


class ModelFirst(pydantic.BaseModel, Worker):
    name: str
    scale: int = 2
    seen: list[int] = []

    def grow(self, number: int) -> int:
        self.seen.append(number)
        return number * self.scale

    def history(self) -> list[int]:
        return self.seen

    def place(self) -> int:
        return self.index


class Validated(Worker):
    @pydantic.validate_call
    def __init__(self, name: str, scale: int = 2) -> None:
        self.name = name
        self.scale = scale
        self.seen: list[int] = []

    @pydantic.validate_call
    def grow(self, number: int) -> int:
        self.seen.append(number)
        return number * self.scale

    @pydantic.validate_call
    async def grow_later(self, number: int) -> int:
        return self.grow(number)

    def history(self) -> list[int]:
        return self.seen

    def place(self) -> int:
        return self.index


class Counted:
    """Somebody else's class, which knows nothing of workers."""

    def __init__(self, name: str, *, scale: int = 2) -> None:
        self.name, self.scale = name, scale
        self.seen: list[int] = []

    def grow(self, number: int) -> int:
        self.seen.append(number)
        return number * self.scale

    def history(self) -> list[int]:
        return self.seen


class Adopted(Worker, Counted):
    def place(self) -> int:
        return self.index


class Record(Worker, msgspec.Struct):
    name: str
    scale: int = 2
    seen: list[int] = []

    def grow(self, number: int) -> int:
        self.seen.append(number)
        return number * self.scale

    def history(self) -> list[int]:
        return self.seen

    def place(self) -> int:
        return self.index


class FrozenRecord(Record, frozen=True): ...


CLASSES: list[Any] = [
    Data, Frozen, Attrs, Model, ModelFirst, Validated, Adopted, Record, FrozenRecord,
]  # fmt: skip


@pytest.mark.parametrize("cls", CLASSES)
def test_each_works_as_a_worker(mode: Mode, cls: Any) -> None:
    with _made(cls, mode) as worker:
        assert worker.grow(4).result() == 12
        assert worker.grow(number=5).result() == 15
        assert worker.history().result() == [4, 5]
        assert worker.place().result() == 0


def _made(cls: Any, mode: Mode, **options: Any) -> Any:
    return cls.options(mode=mode, **options).init(name="ours", scale=3)


@pytest.mark.parametrize("cls", CLASSES)
def test_several_workers_share_nothing(several: Mode, cls: Any) -> None:
    with _made(cls, several, max_workers=2) as worker:
        assert [worker.place().result() for _ in range(2)] == [0, 1]
        worker.grow(1).result()
        assert [worker.history().result() for _ in range(2)] in ([[1], []], [[], [1]])


@pytest.mark.parametrize("cls", [Attrs, Model, Validated])
def test_what_a_validator_refuses_is_the_cause(mode: Mode, cls: Any) -> None:
    wrong = {"scale": "many"} if cls is not Attrs else {"scale": -1}
    with pytest.raises(WorkerNotStarted) as raised:
        cls.options(mode=mode).init(name="ours", **wrong)
    assert isinstance(raised.value.__cause__, ValueError)


def test_validated_methods_coerce_and_refuse(mode: Mode) -> None:
    with Validated.options(mode=mode).init("ours", scale="3") as worker:
        assert worker.grow("10").result() == 30
        assert worker.grow_later("10").result() == 30
        with pytest.raises(ValueError, match="valid integer"):
            worker.grow("ten").result()


def test_a_models_data_is_only_its_own(mode: Mode) -> None:
    with Model.options(mode=mode).init(name="ours") as model:
        assert model.dumped().result() == {"name": "ours", "scale": 2, "seen": []}
    assert set(Model.model_fields) == {"name", "scale", "seen"}


def test_a_models_own_methods_can_be_called(mode: Mode) -> None:
    with Model.options(mode=mode).init(name="ours") as model:
        assert model.model_dump_json().result() == '{"name":"ours","scale":2,"seen":[]}'


def test_workers_that_are_made_already_are_adopted(several: Mode) -> None:
    with Data.options(mode=several).adopt(Data("a", 2), Data("b", 3)) as data:
        assert [data.grow(1).result() for _ in range(4)] == [2, 3, 2, 3]
        assert [data.place().result() for _ in range(2)] == [0, 1]


def test_one_worker_is_adopted_in_any_mode(mode: Mode) -> None:
    with Model.options(mode=mode).adopt(Model(name="ours", scale=5)) as model:
        assert model.grow(2).result() == 10


def test_what_is_adopted_has_its_own_number() -> None:
    with pytest.raises(InvalidOption, match="max_workers"):
        Data.options(max_workers=3).adopt(Data("a"))
    with pytest.raises(InvalidOption, match="one at least"):
        Data.options().adopt()
    with pytest.raises(InvalidOption, match="max_workers=2"):
        Data.options(mode="asyncio").adopt(Data("a"), Data("b"))
