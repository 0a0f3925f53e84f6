"""Cells: small versioned values, written all or none."""

from __future__ import annotations

from treadle.ports import Cell, Feature, Write
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["CellsContract"]


@needs(Feature.SHARED)
class CellsContract(Contract):
    """``read`` and ``write``."""

    async def put(self, store: Driver, key: str, value: bytes | None, **fields: float) -> bool:
        """Write one cell."""
        write = Write(key=key, value=value, **fields)  # type: ignore[arg-type]
        return await store.backend.write([write])

    async def read(self, store: Driver, *keys: str) -> dict[str, bytes]:
        """The values of the cells that exist."""
        return {key: cell.value for key, cell in (await store.backend.read(keys)).items()}

    async def test_a_version_goes_up_with_every_write(self, store: Driver) -> None:
        """Cell: ``version`` goes up with every write, from 1."""
        for version in (1, 2, 3):
            assert await self.put(store, "k", b"v")
            assert await store.backend.read(["k"]) == {"k": Cell(value=b"v", version=version)}

    async def test_what_is_not_there_is_left_out(self, store: Driver) -> None:
        """Shared: the cells that exist."""
        await self.put(store, "k", b"\x00")
        assert await self.read(store, "k", "nothing") == {"k": b"\x00"}
        assert await store.backend.read([]) == {}

    async def test_reading_by_prefix(self, store: Driver) -> None:
        """Shared: a key that ends in ``*`` reads all with that prefix."""
        for key in ("a:1", "a:2", "ab", "b:1", "a%", "a_"):
            await self.put(store, key, b"v")
        assert set(await self.read(store, "a:*")) == {"a:1", "a:2"}
        assert set(await self.read(store, "a:*", "b:1")) == {"a:1", "a:2", "b:1"}
        assert set(await self.read(store, "a%*")) == {"a%"}
        assert set(await self.read(store, "a_*")) == {"a_"}

    async def test_an_expected_version(self, store: Driver) -> None:
        """Write: the version that must be there; 0 for none."""
        assert not await self.put(store, "k", b"x", expect=1)
        assert await self.put(store, "k", b"one", expect=0)
        assert not await self.put(store, "k", b"x", expect=0)
        assert await self.put(store, "k", b"two", expect=1)
        assert not await self.put(store, "k", b"x", expect=1)
        assert await self.read(store, "k") == {"k": b"two"}

    async def test_a_deletion(self, store: Driver) -> None:
        """Write: ``None`` deletes; then no version is there."""
        await self.put(store, "k", b"v")
        assert not await self.put(store, "k", None, expect=7)
        assert await self.put(store, "k", None, expect=1)
        assert await self.read(store, "k") == {}
        assert await self.put(store, "k", None)
        assert await self.put(store, "k", b"again", expect=0)

    async def test_writes_are_all_or_none(self, store: Driver) -> None:
        """Shared: all writes, or none when a version is not the expected one."""
        await self.put(store, "a", b"old")
        writes = [
            Write(key="a", value=b"new"),
            Write(key="b", value=b"new", expect=5),
            Write(key="c", value=b"new"),
        ]
        assert not await store.backend.write(writes)
        assert await self.read(store, "a", "b", "c") == {"a": b"old"}
        assert await store.backend.write([writes[0], writes[2]])
        assert await self.read(store, "a", "b", "c") == {"a": b"new", "c": b"new"}

    async def test_a_cell_may_go_by_itself(self, store: Driver, clock: ManualClock) -> None:
        """Write: seconds after which the cell is gone."""
        await self.put(store, "k", b"v", ttl=10.0)
        clock.advance(9)
        assert await self.read(store, "k") == {"k": b"v"}
        clock.advance(2)
        assert await self.read(store, "k") == {}
        assert await self.read(store, "*") == {}
        assert await self.put(store, "k", b"new", expect=0)
        clock.advance(1000)
        assert await self.read(store, "k") == {"k": b"new"}

    async def test_a_write_without_ttl_keeps_for_ever(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Write: the last write decides how long a cell lives."""
        await self.put(store, "k", b"v", ttl=10.0)
        await self.put(store, "k", b"v")
        clock.advance(1000)
        assert await self.read(store, "k") == {"k": b"v"}

    async def test_writing_nothing(self, store: Driver) -> None:
        """An empty group succeeds."""
        assert await store.backend.write([])
