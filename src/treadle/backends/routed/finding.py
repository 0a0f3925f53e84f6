"""Looking at the jobs of several backends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from treadle.backends.common.merging import altered_of, page_of
from treadle.backends.routed.part import Part
from treadle.backends.routed.routes import Routes
from treadle.errors import BackendError, Unsupported
from treadle.ports import ALTER_MAX, Altered, Change, Feature, Page, Query, placing
from treadle.queuenames import ALL, covers
from treadle.records import JobRecord

__all__ = ["Finder"]

_BETWEEN = "/"
"""Parts the cursors of backends, which may be in parts themselves."""


class Finder:
    """Finds and changes jobs, wherever they are.

    Args:
        parts: the backends.
        routes: say which queues they have.
    """

    def __init__(self, parts: Sequence[Part], routes: Routes) -> None:
        self._parts = parts
        self._routes = routes

    async def find(self, query: Query) -> Page:
        """Look at jobs: in one backend where the query is of a queue, else in all.

        Raises:
            BackendError: of a backend that does not answer, unless others have what was asked for.
        """
        return await self._find(query, {})

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change the jobs that a query finds."""
        asked = self._routes.touched(query.queue)
        if len(asked) == 1:
            return await self._parts[asked[0]].ask(lambda one: one.alter(query, change))
        where: dict[str, int] = {}
        most = min(query.limit, ALTER_MAX)
        page = await self._find(msgspec.structs.replace(query, limit=most), where)

        async def some(to: int, ids: list[str]) -> Altered:
            narrowed = msgspec.structs.replace(query, ids=tuple(ids), cursor=None, limit=len(ids))
            return await self._parts[to].ask(lambda one: one.alter(narrowed, change))

        return await altered_of(page, lambda record: where[record.id], some)

    async def _find(self, query: Query, where: dict[str, int]) -> Page:
        """The same, noting in which backend each job is."""
        asked = self._routes.touched(query.queue)
        if len(asked) == 1:
            return await self._parts[asked[0]].ask(lambda one: one.find(query))
        if len(query.ids) == 1 and query.cursor is None and not query.counts:
            return await self._one(asked, query, where)

        async def ask(at: int, part: Query, _: int) -> Page:
            page = await self._look(asked[at], part)
            where.update((record.id, asked[at]) for record in page.records)
            return page

        async def behind(at: int, part: Query, last: JobRecord) -> str | None:
            if placing(self._parts[asked[at]].backend) is None:
                return str(last.seq)
            # It is in parts itself, and goes on behind the last job of each.
            return (await self._look(asked[at], part)).cursor

        return await page_of(len(asked), query, ask, behind=behind, between=_BETWEEN)

    async def _look(self, to: int, query: Query) -> Page:
        """What one of several backends has; of one without records its counts."""
        part = self._parts[to]
        if Feature.RECORDS in part.backend.features:
            return await part.ask(lambda one: one.find(query))
        if not query.counts:
            return Page()
        page = await part.ask(lambda one: one.find(Query(counts=True)))
        pattern = query.queue or ALL
        return Page(counts={name: n for name, n in page.counts.items() if covers(pattern, name)})

    async def _one(self, asked: Sequence[int], query: Query, where: dict[str, int]) -> Page:
        """One job by its id: whoever has it answers, the others need not."""
        # One without records refuses, which is said when no other one has the job.
        tasks: list[asyncio.Future[Page]] = [
            asyncio.ensure_future(self._parts[to].ask(lambda one: one.find(query))) for to in asked
        ]
        failure: Exception | None = None
        pending = set(tasks)
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        page = task.result()
                    except (BackendError, Unsupported) as error:
                        failure = error
                        continue
                    if page.records or page.gone:
                        where.update((one.id, asked[tasks.index(task)]) for one in page.records)
                        return page
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if failure is not None:
            raise failure
        return Page()
