"""Sessions: presence, nonces, the giving back of what is held."""

from __future__ import annotations

import msgspec
import pytest

from treadle.errors import LeaseLost
from treadle.ports import SESSION_CELL, Claim, Feature, Write
from treadle.records import JobState, SessionInfo
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["SessionsContract"]


async def present_sessions(store: Driver) -> dict[int, SessionInfo]:
    """The sessions that the store shows, by nonce."""
    cells = await store.backend.read([SESSION_CELL + "*"])
    return {
        int(key.removeprefix(SESSION_CELL), 16): msgspec.msgpack.decode(
            cell.value, type=SessionInfo
        )
        for key, cell in cells.items()
    }


class SessionsContract(Contract):
    """A foreman is present from ``open_session`` to ``close_session``."""

    async def test_nonces_tell_sessions_apart(self, store: Driver) -> None:
        """1. A token has the nonce of its session, a positive number below 2**63."""
        one, two = await store.session("one"), await store.session("two")
        assert one.nonce != two.nonce
        assert 0 < one.nonce < 2**63
        lease = await store.run(who="two")
        assert lease.token.nonce == two.nonce

    async def test_a_session_may_have_its_nonce_from_another_store(self, store: Driver) -> None:
        """Ports. A foreman of several stores is known by one nonce in all of them."""
        session = await store.backend.open_session(SessionInfo(name="mine"), 7)
        assert session.nonce == 7
        await store.add()
        claimed = await store.backend.claim(Claim(session=session, request=1, limit=1))
        assert [lease.token.nonce for lease in claimed.leases] == [7]

    async def test_the_store_stamps_a_session(self, store: Driver, clock: ManualClock) -> None:
        """2. ``opened`` and ``until`` are set by the store; what was said is kept."""
        info = SessionInfo(name="mine", host="h", pid=7, tasks=("a.b",), concurrency=3)
        session = await store.backend.open_session(info)
        assert session.info.opened == clock.now()
        assert session.info.until > clock.now()
        same = msgspec.structs.replace(session.info, opened=0.0, until=0.0)
        assert same == info

    async def test_a_claim_of_a_closed_session_is_refused(self, store: Driver) -> None:
        """Claim 1. An unknown or closed session raises ``LeaseLost``."""
        await store.backend.close_session(await store.session())
        with pytest.raises(LeaseLost):
            await store.claim()

    async def test_closing_twice_is_harmless(self, store: Driver) -> None:
        """Requests are idempotent, because replies get lost."""
        session = await store.session()
        await store.backend.close_session(session)
        await store.backend.close_session(session)

    async def test_closing_gives_back_what_had_not_started(self, store: Driver) -> None:
        """3.2, 3.5. By ``close_session`` as an ordinary job, unblamed, at once."""
        lease = await store.run()
        await store.backend.close_session(await store.session())
        record = await store.record(lease.spec.id)
        assert (record.state, record.suspect, record.crashes) == (JobState.QUEUED, False, 0)
        # An ordinary job is granted also to a session that holds others.
        again = await store.take(who="two", holding=5)
        assert again.token.fence == lease.token.fence + 1

    async def test_closing_counts_what_had_started_as_crashed(self, store: Driver) -> None:
        """Close: "as crashed if it was started, else unblamed"."""
        lease = await store.run()
        await store.start(lease)
        await store.backend.close_session(await store.session())
        record = await store.record(lease.spec.id)
        assert (record.state, record.suspect, record.crashes) == (JobState.QUEUED, True, 1)

    async def test_closing_leaves_others_alone(self, store: Driver) -> None:
        """A session gives back its own leases only."""
        mine = await store.run(who="one")
        theirs = await store.run(who="two")
        await store.backend.close_session(await store.session("one"))
        assert await store.state(mine.spec.id) is JobState.QUEUED
        assert await store.state(theirs.spec.id) is JobState.RUNNING

    @needs(Feature.SHARED)
    async def test_open_sessions_can_be_read(self, store: Driver, clock: ManualClock) -> None:
        """Shared: ``session:<nonce in hex>`` are made by open, extend and close."""
        session = await store.session("seen")
        present = await present_sessions(store)
        assert list(present) == [session.nonce]
        info = present[session.nonce]
        assert (info.name, info.opened) == ("seen", clock.now())
        await store.backend.close_session(session)
        assert await present_sessions(store) == {}

    @needs(Feature.SHARED)
    async def test_presence_is_renewed_by_extend(self, store: Driver, clock: ManualClock) -> None:
        """3.4. An empty list is the heartbeat of presence."""
        session = await store.session("one")
        for _ in range(4):
            clock.advance(20)
            assert await store.extend() == []
        info = (await present_sessions(store))[session.nonce]
        assert info.until > clock.now()
        assert info.opened == session.info.opened

    @needs(Feature.SHARED)
    async def test_presence_lapses_without_extend(self, store: Driver, clock: ManualClock) -> None:
        """Leases: presence of the session lapses too when no ``extend`` comes."""
        session = await store.session("one")
        clock.advance(session.info.until - clock.now() + 1)
        await store.claim(who="two")
        assert session.nonce not in await present_sessions(store)

    @needs(Feature.SHARED)
    @pytest.mark.parametrize("verb", ["claim", "extend"])
    async def test_a_lapsed_session_may_come_back(
        self, store: Driver, clock: ManualClock, verb: str
    ) -> None:
        """Claim 1. A session whose presence lapsed is not closed; it is present again."""
        session = await store.session("one")
        clock.advance(600)
        assert await present_sessions(store) == {}
        if verb == "claim":
            assert await store.claim() == ()
        else:
            assert await store.extend() == []
        assert list(await present_sessions(store)) == [session.nonce]

    @needs(Feature.SHARED)
    async def test_session_cells_are_read_only(self, store: Driver) -> None:
        """Shared: nobody but the store writes ``session:``; such a write is refused."""
        await store.session("one")
        [(key, cell)] = (await store.backend.read([SESSION_CELL + "*"])).items()
        with pytest.raises(ValueError, match="session:"):
            await store.backend.write([Write(key=key, value=b"forged")])
        assert await store.backend.read([key]) == {key: cell}
