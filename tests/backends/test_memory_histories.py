"""Random histories of the memory store: what it counts stays true, and everything ends."""

from __future__ import annotations

import random  # noqa: TID251 - a history is seeded
from collections import Counter

import msgspec
import pytest

from tests.backends.memory_invariants import OPEN, check
from treadle.backends.memory import extend, shared
from treadle.backends.memory.advance import advance, advance_all
from treadle.backends.memory.alter import alter
from treadle.backends.memory.claim import claim
from treadle.backends.memory.push import push
from treadle.backends.memory.settle import settle
from treadle.backends.memory.shared import Request
from treadle.backends.memory.store import Store
from treadle.ids import SystemIds
from treadle.ports import (
    Cancel,
    Claim,
    Delete,
    Granted,
    Held,
    Query,
    QueueRule,
    Reprioritise,
    Reschedule,
    Retry,
    Settlement,
    Write,
)
from treadle.records import (
    After,
    Hold,
    In,
    Keep,
    NewJob,
    OnConflict,
    OnFailure,
    Scope,
    SessionInfo,
    Settled,
    Spend,
    Unique,
)
from treadle.testing.clock import ManualClock
from treadle.verdicts import Again, Cancelled, Done, Failed, Released

QUEUES = ("a", "a.x", "a.y", "a.x.1", "b", "c")


class History:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        self.ids = SystemIds(self.clock, self.chance)
        self.store = Store(self.clock)
        self.store.max_failed = 5
        self.pushed: list[str] = []
        self.leases = {}
        self.permits = []
        self.tickets = []
        self.sessions = {}
        self.done = Counter()
        for _ in range(2):
            self.open()

    def open(self) -> None:
        with self.store as store:
            session = store.presence.open(self.ids.nonce(), SessionInfo(name="s"), store.now)
        self.sessions[session.nonce] = [session, 0]

    def maybe(self, share: float, value, other=None):
        return value if self.chance.random() < share else other

    def job(self) -> NewJob:
        pick = self.chance.choice
        asks = []
        if self.chance.random() < 0.2:
            asks.append(Hold(key=pick("mn"), slots=2, units=pick((1, 1, 2))))
        if self.chance.random() < 0.2:
            asks.append(Spend(key=pick("rs"), count=5, per=1.0))
        unique = Unique(
            key=pick("uvw"),
            scope=pick(list(Scope)),
            ttl=5.0,
            on_conflict=pick(list(OnConflict)),
        )
        after = After(
            ids=tuple({pick(self.pushed), pick(self.pushed)}) if self.pushed else (),
            on_failure=pick(list(OnFailure)),
        )
        keep = pick((Keep(), Keep(succeeded=0.0, failed=0.0, cancelled=0.0), Keep(succeeded=3.0)))
        return NewJob(
            id=self.ids.new(),
            task=pick(("t.one", "t.two")),
            payload=b"",
            queue=pick(QUEUES),
            priority=pick((0, 0, 0, 5, -5)),
            due=self.maybe(0.2, In(self.chance.uniform(0, 5))),
            expires=self.maybe(0.1, In(self.chance.uniform(0, 9))),
            unique=self.maybe(0.15, unique),
            key=self.maybe(0.3, pick("kl")),
            key_slots=pick((1, 1, 2)),
            ordered=self.chance.random() < 0.4,
            asks=tuple(asks),
            after=self.maybe(0.15, after),
            at_most_once=self.chance.random() < 0.1,
            keep=keep,
            flow=self.maybe(0.1, "f"),
            bound=self.maybe(0.1, 30),
        )

    # ------------------------------------------------------------ steps

    def do_push(self) -> None:
        jobs = [self.job() for _ in range(self.chance.randint(1, 4))]
        if self.pushed and self.chance.random() < 0.2:
            jobs.append(msgspec.structs.replace(jobs[0], id=self.chance.choice(self.pushed)))
        with self.store as store:
            push(store, jobs)
        self.pushed += [job.id for job in jobs]

    def do_claim(self) -> None:
        entry = self.chance.choice(list(self.sessions.values()))
        session, entry[1] = entry[0], entry[1] + 1
        queues = self.chance.choice((("*",), ("a", "b"), ("a.x", "*"), ("c", "a")))
        exclude = self.chance.choice(((), (), ("a.y",), ("b",)))
        holding = sum(lease.token.nonce == session.nonce for lease in self.leases.values())
        ask = Claim(
            session=session,
            request=entry[1],
            limit=self.chance.randint(1, 6),
            queues=queues,
            exclude=exclude,
            lease=4.0,
            holding=self.chance.choice((0, holding)),
        )
        with self.store as store:
            claimed = claim(store, ask)
            assert claim(store, ask) is claimed
        assert len(claimed.leases) <= ask.limit
        for lease in claimed.leases:
            self.leases[lease.token] = lease

    def do_settle(self) -> None:
        tokens = list(self.leases)
        self.chance.shuffle(tokens)
        chosen = tokens[: self.chance.randint(0, 4)]
        follow = (self.job(),) if self.chance.random() < 0.1 else ()
        ends = [
            Settlement(token=token, verdict=self.verdict(), follow_ups=follow) for token in chosen
        ]
        with self.store as store:
            first = settle(store, ends)
            again = settle(store, ends)
        for end, said, repeated in zip(ends, first, again, strict=True):
            del self.leases[end.token]
            if said is Settled.OK:
                assert repeated is Settled.ALREADY
                if isinstance(end.verdict, Done):
                    self.done[end.token.job_id] += 1
            else:
                assert said in (Settled.LOST, Settled.UNKNOWN)

    def verdict(self):
        return self.chance.choice(
            (
                Done(result=b"r"),
                Done(),
                Again(delay=self.chance.choice((0.0, 1.0))),
                Failed(),
                Released(),
                Released(delay=1.0, reason="later"),
                Cancelled(),
            )
        )

    def do_extend(self) -> None:
        tokens = [token for token in self.leases if self.chance.random() < 0.5]
        held = [Held(token=one, started=self.chance.random() < 0.5) for one in tokens]
        session = self.chance.choice(list(self.sessions.values()))[0]
        lease = self.chance.choice((0.0, 1.0, 4.0, 8.0))
        with self.store as store:
            extend.extend(store, session, held, lease)

    def do_alter(self) -> None:
        changes = (
            Cancel(),
            Delete(),
            Retry(),
            Reprioritise(priority=self.chance.choice((-5, 0, 5))),
            Reschedule(due=In(self.chance.uniform(-1, 3))),
        )
        ids = tuple(self.chance.choice(self.pushed) for _ in range(2)) if self.pushed else ("no",)
        with self.store as store:
            advance_all(store)
            alter(store, Query(ids=ids), self.chance.choice(changes))

    def do_rule(self) -> None:
        rule = self.chance.choice(
            (QueueRule(paused=True), QueueRule(max_running=2), QueueRule(), None)
        )
        value = msgspec.msgpack.encode(rule) if rule is not None else None
        name = self.chance.choice(QUEUES)
        with self.store as store:
            assert shared.write(store, [Write(key=f"queue:{name}", value=value)])

    def do_time(self) -> None:
        self.clock.advance(self.chance.choice((0.1, 0.5, 1.0, 4.5)))
        with self.store as store:
            self.chance.choice((advance, advance_all))(store)

    def do_sessions(self) -> None:
        if self.chance.random() < 0.2:
            nonce = self.chance.choice(list(self.sessions))
            with self.store as store:
                extend.close_session(store, self.sessions.pop(nonce)[0])
            self.open()

    def do_permits(self) -> None:
        with self.store as store:
            if self.permits and self.chance.random() < 0.5:
                shared.release(store, self.permits.pop())
                return
            asks = (Hold(key=self.chance.choice("mn"), slots=2), Spend(key="r", count=5, per=1))
            ticket = self.tickets.pop() if self.tickets else None
            answer = shared.acquire(
                store, self.ids, Request(asks=asks, who="me", ticket=ticket, lease=3.0)
            )
            if isinstance(answer, Granted):
                self.permits.append(answer.permit)
            else:
                self.tickets.append(answer.ticket.id)

    def step(self) -> None:
        steps = (
            *(self.do_push, self.do_claim, self.do_settle) * 3,
            self.do_extend,
            self.do_alter,
            self.do_rule,
            self.do_time,
            self.do_sessions,
            self.do_permits,
        )
        self.chance.choice(steps)()
        check(self.store)

    def finish(self) -> None:
        """Resume everything and serve it until nothing is left."""
        with self.store as store:
            for permit in self.permits:
                shared.release(store, permit)
            shared.write(store, [Write(key=f"queue:{name}", value=None) for name in QUEUES])
        for _ in range(300):
            self.clock.advance(1.0)
            entry = next(iter(self.sessions.values()))
            entry[1] += 1
            with self.store as store:
                ask = Claim(session=entry[0], request=entry[1], limit=10)
                leases = claim(store, ask).leases
                settle(store, [Settlement(token=one.token, verdict=Done()) for one in leases])
                check(store)
                states = {job.state for job in store.jobs.values()}
            if not states & set(OPEN):
                return
        left = [job for job in self.store.jobs.values() if job.state in OPEN]
        pytest.fail(f"never served: {left}")


@pytest.mark.parametrize("seed", range(20))
def test_a_random_history(seed: int) -> None:
    history = History(seed)
    for _ in range(120):
        history.step()
    history.finish()
    assert all(times == 1 for times in history.done.values() if times)
