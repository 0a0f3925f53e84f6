"""The machine: random histories of every verb, played on a backend and on the store in memory."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from treadle.ports import QUEUE_CELL, Change, Feature, Query, Retry, Write
from treadle.records import After, In, NewJob, Note, OnFailure, Pushed, PushStatus, Settled, Spend
from treadle.records import Hold as Units
from treadle.testing.model import draws
from treadle.testing.model.side import End, Hold
from treadle.testing.model.stage import PRESENCE, Stage
from treadle.testing.model.told import Handle
from treadle.verdicts import Done, Verdict

__all__ = ["BackendMachine"]

_RECENT = 12
"""Leases that are settled and renewed, among them some that are long over."""
_picks = st.integers(0, _RECENT - 1)
_some = st.lists(_picks, min_size=1, max_size=4, unique=True)
_forged = st.sampled_from(("", "", "", "", "", "nonce", "fence", "job"))
_booleans = st.booleans()


class BackendMachine(Stage):
    """A history of a backend beside the store in memory."""

    # ------------------------------------------------------------ pushing

    @rule(data=st.data(), again=_booleans, old=st.none() | _picks)
    def push(self, data: st.DataObject, again: bool, old: int | None) -> None:
        """Several jobs in one step, among them perhaps an id that was pushed before."""
        many = data.draw(st.lists(draws.jobs(lines=self.lines), min_size=1, max_size=4))
        jobs = [self.job(fields) for fields in many]
        if old is not None and self.pushed > old:
            jobs.append(NewJob(id=f"j{self.pushed - old}", task="t.one", payload=b"other"))
        for _ in range(1 + again):
            self.ledger.pushed(jobs, self.ask("push", jobs), self.clock.now())

    @precondition(lambda self: not self.crowded)
    @rule(
        kind=st.sampled_from(("due", "expires", "after")),
        number=st.sampled_from((51, 60, 120)),
        seconds=st.sampled_from((0.5, 5.0)),
    )
    def crowd(self, kind: str, number: int, seconds: float) -> None:
        """More jobs than are moved on in one step, due or expired at once or waiting for one."""
        self.crowded = True
        fields: draws.Fields = {"task": "t.one", "queue": "c"}
        first = self.next_job(fields)
        if kind == "after":
            fields["after"] = After(ids=(first.id,), on_failure=OnFailure.CANCEL)
        else:
            fields[kind] = In(seconds)
        jobs = [first, *(self.next_job(fields) for _ in range(number))]
        self.ledger.pushed(jobs, self.ask("push", jobs), self.clock.now())

    # ------------------------------------------------------------ foremen

    @initialize()
    def begin(self) -> None:
        """Two foremen are there from the start."""
        self.open_session()
        self.open_session()

    @precondition(lambda self: len(self.requests) < 4)
    @rule()
    def open_session(self) -> None:
        """Another foreman."""
        who = f"s{next(self.numbers)}"
        self.requests[who] = 0
        self.ask("open_session", who)
        self.ledger.present(who, self.clock.now() + PRESENCE)

    @precondition(lambda self: len(self.requests) > 1)
    @rule(pick=_picks, orderly=_booleans, again=_booleans)
    def end_session(self, pick: int, orderly: bool, again: bool) -> None:
        """A foreman says goodbye, or is never heard of again."""
        who = self.foreman(pick)
        if orderly:
            for _ in range(1 + again):
                self.ask("close_session", who)
            fields = {"limit": 1, "queues": ("*",), "lease": 4.0}
            self.ledger.closed(who)
            assert self.ask("claim", who, 99, **fields) == "raises LeaseLost"
        del self.requests[who]

    def foreman(self, pick: int) -> str:
        """One of those who are there."""
        return list(self.requests)[pick % len(self.requests)]

    @rule(
        pick=_picks,
        fields=draws.claims,
        first=st.just([]) | st.lists(_picks, min_size=1, max_size=3),
        alone=_booleans,
        again=_booleans,
    )
    def ask_for_jobs(
        self, pick: int, fields: draws.Fields, first: list[int], alone: bool, again: bool
    ) -> None:
        """A claim, perhaps of certain jobs first; answered the same when it is repeated."""
        named = tuple(f"j{self.pushed - back}" for back in first)
        who, holding = self.foreman(pick), 0 if alone else 1
        self.claim(who, again=again, holding=holding, first=named, **fields)

    def lease(self, pick: int) -> Handle:
        """One of the last leases; the newest for 0."""
        return self.leases[-1 - pick % min(_RECENT, len(self.leases))]

    @precondition(lambda self: self.leases)
    @rule(
        pick=_picks,
        chosen=_some,
        started=_booleans,
        note=draws.notes,
        forged=_forged,
        lease=st.sampled_from((0.0, 1.0, 4.0, 8.0)),
    )
    def extend(
        self,
        pick: int,
        chosen: list[int],
        started: bool,
        note: Note | None,
        forged: str,
        lease: float,
    ) -> None:
        """Leases are renewed, or given up."""
        names = dict.fromkeys(self.lease(one) for one in chosen)
        holds = [Hold(lease=one, started=started, note=note, forged=forged) for one in names]
        self.renew_session(self.foreman(pick), holds, lease)

    @rule(pick=_picks)
    def heartbeat(self, pick: int) -> None:
        """A renewal of nothing but presence."""
        self.renew_session(self.foreman(pick), [], 4.0)

    def renew_session(self, who: str, holds: list[Hold], lease: float) -> None:
        """Renew leases, and with them the presence of who asks."""
        self.ask("extend", who, holds, lease)
        if lease > 0:
            self.ledger.present(who, self.clock.now() + lease)

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        chosen=_some,
        verdicts=st.lists(draws.verdicts, min_size=4, max_size=4),
        forged=_forged,
        note=draws.notes,
        following=st.integers(0, 3),
        again=_booleans,
    )
    def settle(
        self,
        data: st.DataObject,
        chosen: list[int],
        verdicts: list[Verdict],
        forged: str,
        note: Note | None,
        following: int,
        again: bool,
    ) -> None:
        """Attempts end, some with follow-ups, some with tokens that are stale or made up."""
        names = dict.fromkeys(self.lease(one) for one in chosen)
        ends: list[End] = []
        for name, verdict in zip(names, verdicts, strict=False):
            follow_ups: tuple[NewJob, ...] = ()
            if following == 1:
                follow_ups = (self.job(data.draw(draws.jobs(lines=self.lines))),)
            ends.append(
                End(lease=name, verdict=verdict, follow_ups=follow_ups, note=note, forged=forged)
            )
        answers = self.ask("settle", ends)
        for end, answer in zip(ends, answers, strict=True):
            assert not forged or answer in (Settled.LOST, Settled.UNKNOWN), "believed a forgery"
            if answer is Settled.OK:
                self.ledger.won(end.lease)
                if isinstance(end.verdict, Done):
                    self.follow(end.follow_ups)
        if again:
            repeated = self.ask("settle", ends)
            for answer, second in zip(answers, repeated, strict=True):
                # Others of the same job may have been settled in between.
                wanted = (Settled.ALREADY,) if answer is Settled.OK else (answer, Settled.LOST)
                assert second in wanted, f"settled: {answer}, then {second}"

    def follow(self, jobs: tuple[NewJob, ...]) -> None:
        """Note the follow-ups that were made; others found their unique key taken."""
        for job in jobs:
            there, gone, *_ = self.see("find", Query(ids=(job.id,)))
            answer = Pushed(PushStatus.CREATED) if there else gone[job.id].pushed
            self.ledger.pushed([job], [answer], self.clock.now())

    # ------------------------------------------------------------ looking and changing

    @rule(query=draws.queries)
    def find(self, query: Query) -> None:
        """A page, and all pages."""
        self.ask("find", query)
        self.ask("listed", query)

    @precondition(lambda self: self.pushed)
    @rule(chosen=st.lists(_picks, min_size=1, max_size=4), change=draws.changes)
    def alter(self, chosen: list[int], change: Change) -> None:
        """Jobs are changed by their ids."""
        ids = tuple(f"j{self.pushed - back}" for back in chosen)
        self.change(Query(ids=ids), change)

    @rule(query=draws.queries, change=draws.changes)
    def alter_found(self, query: Query, change: Change) -> None:
        """Jobs are changed by what they are."""
        self.change(query, change)

    def change(self, query: Query, change: Change) -> None:
        """Change what a query finds."""
        answer = self.ask("alter", query, change)
        if isinstance(change, Retry):
            self.ledger.retried(answer.done)

    # ------------------------------------------------------------ time, processes

    @rule(seconds=st.sampled_from((0.1, 0.5, 1.0, 4.5, 31.0, 700.0)), seen=_booleans)
    def time_passes(self, seconds: float, seen: bool) -> None:
        """Some time, which the next verb is perhaps the first to see."""
        self.clock.advance(seconds)
        self.unseen = not seen

    @precondition(lambda self: Feature.CROSS_PROCESS in self.sides[0].backend.features)
    @rule()
    def restart(self) -> None:
        """The process that has the store dies with its foremen; another one opens it."""
        self.sides[0].reopen()
        self.requests.clear()
        self.begin()

    # ------------------------------------------------------------ shared state

    @rule(name=st.sampled_from((*draws.QUEUES, "", "bad..name")), value=draws.rules)
    def pause(self, name: str, value: bytes | None) -> None:
        """A rule for a queue."""
        self.ask("write", [Write(key=f"{QUEUE_CELL}{name}", value=value)])

    @rule(
        names=st.lists(st.sampled_from("pq"), min_size=1, max_size=3),
        value=st.none() | st.just(b"value"),
        expect=st.sampled_from((None, 0, 1, 2)),
        ttl=st.sampled_from((None, 2.0)),
    )
    def write(
        self, names: list[str], value: bytes | None, expect: int | None, ttl: float | None
    ) -> None:
        """Cells are written, all or none."""
        writes = [Write(key=f"cell:{one}", value=value, expect=expect, ttl=ttl) for one in names]
        self.ask("write", writes)

    @rule(data=st.data(), pick=_picks, back=_booleans, lease=st.sampled_from((3.0, 30.0)))
    def acquire(self, data: st.DataObject, pick: int, back: bool, lease: float) -> None:
        """Somebody at the worker door asks, for the first time or with a ticket."""
        asks = data.draw(draws.asks(lines=self.lines))
        name = f"p{next(self.numbers)}"
        if back and self.tickets:
            name = self.tickets.pop(pick % len(self.tickets))
        if self.ask("acquire", name, asks, "me", lease) == "granted":
            self.permits.append(name)
            holds = [ask for ask in asks if isinstance(ask, Units)]
            self.ledger.permitted(name, holds, self.clock.now() + lease)
        else:
            self.tickets.append(name)

    @precondition(lambda self: self.permits)
    @rule(pick=_picks, lease=st.sampled_from((3.0, 30.0)))
    def renew(self, pick: int, lease: float) -> None:
        """A permit is kept."""
        name = self.permits[pick % len(self.permits)]
        if self.ask("renew", name, lease):
            self.ledger.prolonged(name, self.clock.now() + lease)

    @precondition(lambda self: self.permits)
    @rule(pick=_picks, used=st.sampled_from((0.0, 0.5, 3.0)))
    def adjust(self, pick: int, used: float) -> None:
        """The real cost becomes known."""
        name = self.permits[pick % len(self.permits)]
        asks = self.sides[0].permits[name].asks
        self.ask("adjust", name, {one.key: used for one in asks if isinstance(one, Spend)})

    @precondition(lambda self: self.permits)
    @rule(pick=_picks, again=_booleans)
    def release(self, pick: int, again: bool) -> None:
        """A permit is given back."""
        name = self.permits.pop(pick % len(self.permits))
        for _ in range(1 + again):
            self.ask("release", name)
        self.ledger.released(name)

    @precondition(lambda self: self.tickets)
    @rule(pick=_picks)
    def leave_line(self, pick: int) -> None:
        """Somebody no longer waits."""
        self.ask("leave_line", self.tickets.pop(pick % len(self.tickets)))
