"""What would count in two backends and mean something in neither, refused where it is asked for.

A key, a limit, a unique key or a flow is that of the backend in which it is first used; what is
known of that is what this process has seen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TypeVar

from treadle.backends.routed.part import Part
from treadle.backends.routed.routes import Routes
from treadle.errors import InvalidOption, Unsupported
from treadle.ports import Feature, Query
from treadle.records import Ask, NewJob
from treadle.together import all_of

__all__ = ["Crossing"]

N = TypeVar("N")
_MOST = 10_000
"""Names, and jobs, whose backends are remembered."""


class Crossing:
    """Says where jobs belong, and refuses those that belong to two backends.

    Args:
        parts: the backends.
        routes: say which queues they have.
    """

    def __init__(self, parts: Sequence[Part], routes: Routes) -> None:
        self._parts = parts
        self._routes = routes
        self._lock = threading.Lock()
        self._names: dict[tuple[str, str], int] = {}
        self._jobs: dict[str, int] = {}

    def place(self, job: NewJob) -> int:
        """The backend of a job.

        Raises:
            InvalidOption: it names what belongs to another one.
            Unsupported: it is bounded by jobs of several.
        """
        to = self._routes.of(job.queue)
        if job.bound is not None:
            self._check_bound(job)
        for what, name in _names(job):
            other = self._owner(what, name, to)
            if other != to:
                raise self._apart(job, what, name, to, other)
        for one in job.after.ids if job.after is not None else ():
            other = self._jobs.get(one, to)
            if other != to:
                raise self._after(job, one, to, other)
        with self._lock:
            _remember(self._jobs, job.id, to)
        return to

    def check_asks(self, asks: Sequence[Ask]) -> None:
        """Return when limits of code, which the default backend counts, are counted there alone.

        Raises:
            InvalidOption: jobs of another one have them.
        """
        for ask in asks:
            other = self._owner("limits", ask.key, 0)
            if other:
                raise InvalidOption(
                    f"limits: {ask.key!r} is asked for by code, which backend {self._parts[0]} "
                    f"counts, and by jobs of backend {self._parts[other]}, which counts for "
                    "itself; give each a key of its own",
                    option="limits",
                    value=ask.key,
                )

    async def check_after(self, jobs: Sequence[NewJob]) -> None:
        """Return when jobs wait for none of another backend.

        Raises:
            InvalidOption: one does.
            BackendUnavailable: that cannot be said, because a backend is away.
        """
        together = {job.id for job in jobs}
        for job in jobs:
            ids = [one for one in job.after.ids if one not in together] if job.after else []
            own = self._routes.of(job.queue)
            unknown = set(ids) - await self._found(own, ids)
            for other in range(len(self._parts)) if unknown else ():
                for one in await self._found(other, sorted(unknown)) if other != own else ():
                    raise self._after(job, one, own, other)

    async def _found(self, to: int, ids: Sequence[str]) -> set[str]:
        """Those of jobs that a backend has, or has had."""
        part = self._parts[to]
        if not ids or Feature.RECORDS not in part.backend.features:
            return set()
        query = Query(ids=tuple(ids), limit=len(ids))
        [page] = await all_of([part.ask(lambda one: one.find(query))])
        return {record.id for record in page.records} | set(page.gone)

    def _owner(self, what: str, name: str, to: int) -> int:
        with self._lock:
            owner = self._names.get((what, name), to)
            _remember(self._names, (what, name), owner)
        return owner

    def _check_bound(self, job: NewJob) -> None:
        touched = self._routes.touched(job.queue)
        if len(touched) > 1:
            raise Unsupported(
                f"bound={job.bound} of task {job.task!r} counts the jobs of queue {job.queue!r} "
                f"with its subqueues, which live in backends {self._shown(touched)}; give it a "
                "queue that lives in one of them",
                backend=self._parts[touched[0]].backend.url,
                feature=Feature.BOUNDS.value,
            )

    def _shown(self, parts: Sequence[int]) -> str:
        return " and ".join(str(self._parts[one]) for one in parts)

    def _apart(self, job: NewJob, what: str, name: str, to: int, other: int) -> InvalidOption:
        return InvalidOption(
            f"{what}={name!r} of a job of task {job.task!r} counts in backend {self._parts[to]}, "
            f"where its queue {job.queue!r} lives, and is used in backend {self._parts[other]}, "
            "which counts for itself; route the queues to one of them, or use another name",
            option=what,
            value=name,
        )

    def _after(self, job: NewJob, awaited: str, to: int, other: int) -> InvalidOption:
        return InvalidOption(
            f"after: a job of task {job.task!r} in backend {self._parts[to]}, where its queue "
            f"{job.queue!r} lives, cannot wait for job {awaited} in backend {self._parts[other]}; "
            "route the queues of both to one of them, or enqueue the later job at the end of the "
            "other: ctx.enqueue(…)",
            option="after",
            value=awaited,
        )


def _names(job: NewJob) -> Iterator[tuple[str, str]]:
    if job.flow is not None:
        yield "flow", job.flow
    if job.key is not None:
        yield "key", job.key
    if job.unique is not None:
        yield "unique", job.unique.key
    for ask in job.asks:
        yield "limits", ask.key


def _remember(known: dict[N, int], name: N, to: int) -> None:
    """Note where something is, and forget what was used longest ago."""
    known.pop(name, None)
    known[name] = to
    if len(known) > _MOST:
        del known[next(iter(known))]
