"""How jobs come to the processes of a site, and what each process is given when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from treadle.errors import JobCancelled
from treadle.pools.sites.account import Account, compact
from treadle.pools.sites.elsewhere import ElsewhereSite
from treadle.pools.sites.site import Call, Channel, Ended
from treadle.pools.submission import Kind, Submission
from treadle.records import Note


class Host:
    """A process that ends its calls when it is told to."""

    index = total = failed = active = abandoned = 0
    busy = 0.0
    here = False
    born = True

    def __init__(self) -> None:
        self.calls: list[Submission] = []
        self.interrupted: list[Submission] = []

    def submit(self, call: Submission) -> None:
        if call.kind is Kind.LIFE:
            call.future.end(None)
        else:
            self.calls.append(call)
            self.begin()

    def begin(self) -> None:
        """Its calls run side by side."""
        if self.born:
            self.calls[-1].future.begin()

    hasten = submit

    def finish(self, number: int, *, unknown: bool = False) -> None:
        account = compact(Account(result=str(number).encode()))
        self.calls[number].future.end(None if unknown else account)

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        self.interrupted.append(call)
        return True

    def drop(self, error: BaseException) -> None: ...
    def close(self) -> None: ...
    def kill(self, error: BaseException) -> None: ...
    def tell_stopping(self) -> None: ...

    def join(self, timeout: float | None) -> bool:
        return True


class Site(ElsewhereSite[Any]):
    """Hosts that are at hand."""

    def __init__(self, hosts: int = 1) -> None:
        super().__init__("jobs", lesson=self._teach, patience=1.0, stopping=asyncio.Event())
        self.hosts: list[Host] = []
        self._bound = hosts

    def _teach(self, name: str) -> tuple[Any, ...]:
        if name == "strange":
            raise LookupError("no such task")
        return (name,)

    def _most(self) -> int:
        return self._bound

    def _made(self, index: int) -> Host:
        self.hosts.append(Host())
        return self.hosts[-1]


class Line:
    """The channel of a job, which notes when it began."""

    stopping = False

    def __init__(self) -> None:
        self.starts = 0
        self.ending: BaseException | None = None

    def started(self) -> None:
        self.starts += 1

    def note(self, note: Note) -> None: ...
    def committing(self, yes: bool) -> None: ...


def run(site: Site, channel: Channel, name: str = "task") -> asyncio.Task[Ended]:
    return asyncio.ensure_future(site.run(Call(name, b""), channel))


async def turns() -> None:
    """Let everything take the steps that it can take."""
    for _ in range(10):
        await asyncio.sleep(0)  # noqa: TID251 - no waiting


@pytest.fixture
async def site() -> Any:
    site = Site()
    yield site
    await site.aclose()


async def test_a_process_has_its_next_job_in_the_moment_in_which_it_is_free(site: Site) -> None:
    channels = [Line() for _ in range(3)]
    jobs = [run(site, channel) for channel in channels]
    await turns()
    host = site.hosts[0]
    assert (len(host.calls), [one.starts for one in channels]) == (1, [1, 0, 0])
    host.finish(0)
    # Nobody has been woken yet.
    assert (len(host.calls), [one.starts for one in channels]) == (2, [1, 1, 0])
    host.finish(1)
    host.finish(2)
    assert [(await job).result for job in jobs] == [b"0", b"1", b"2"]


async def test_a_job_starts_when_its_process_is_there_again(site: Site) -> None:
    """Else its time would run out while a process is born."""
    first = run(site, Line())
    await turns()
    [host] = site.hosts
    host.finish(0)
    await first
    host.born = False
    plain, early = Line(), Line()
    second = run(site, plain)
    await turns()
    assert plain.starts == 0
    # A thread of the process's own sees it.
    await asyncio.to_thread(host.calls[1].future.begin)
    await turns()
    assert plain.starts == 1
    host.finish(1)
    # Of a job that must not run twice it has to be known before.
    third = asyncio.ensure_future(site.run(Call("task", b"", alone=True), early))
    await turns()
    assert early.starts == 1
    host.calls[2].future.begin()
    host.finish(2)
    assert [(await job).result for job in (second, third)] == [b"1", b"2"]
    assert (plain.starts, early.starts) == (1, 1)


async def test_a_job_that_is_cancelled_while_it_waits_is_never_given_to_a_process(
    site: Site,
) -> None:
    first, second, third = [run(site, Line()) for _ in range(3)]
    await turns()
    second.cancel()
    await turns()
    assert second.cancelled()
    site.hosts[0].finish(0)
    assert len(site.hosts[0].calls) == 2
    site.hosts[0].finish(1)
    assert ((await first).result, (await third).result) == (b"0", b"1")


async def test_a_job_that_is_cancelled_as_its_process_gets_it_ends_when_that_says_so(
    site: Site,
) -> None:
    first, second = run(site, Line()), run(site, channel := Line())
    await turns()
    host = site.hosts[0]
    host.finish(0)
    # It has its process and does not know it yet.
    channel.ending = JobCancelled("cancelled", job_id="1")
    second.cancel()
    await turns()
    assert (host.interrupted, second.done()) == ([host.calls[1]], False)
    host.finish(1)
    # It has done its work all the same.
    assert ((await first).result, (await second).result) == (b"0", b"1")


async def test_a_call_that_ends_in_another_thread_wakes_its_loop(site: Site) -> None:
    jobs = [run(site, Line()) for _ in range(2)]
    await turns()
    for number in range(2):
        await asyncio.to_thread(site.hosts[0].finish, number)
        assert (await asyncio.wait_for(jobs[number], 10)).result == str(number).encode()


async def test_a_process_is_kept_for_the_job_that_it_is_taught(site: Site) -> None:
    channel = Line()
    first, second = run(site, channel), run(site, Line())
    await turns()
    host = site.hosts[0]
    host.finish(0, unknown=True)
    await turns()
    lesson = host.calls[1]
    assert (lesson.what, lesson.args, len(host.calls)) == ("learn", ("task",), 2)
    lesson.future.end(None)
    await turns()
    host.finish(2)
    await turns()
    host.finish(3)
    assert ((await first).result, (await second).result) == (b"2", b"3")
    assert channel.starts == 1


@pytest.mark.parametrize("name", ["strange", "task"], ids=["no lesson", "in vain"])
async def test_a_job_that_nobody_can_teach_leaves_its_process_to_others(
    site: Site, name: str
) -> None:
    first, second = run(site, Line(), name), run(site, Line())
    await turns()
    host = site.hosts[0]
    host.finish(0, unknown=True)
    await turns()
    if name == "task":
        host.calls[1].future.end(None)
        await turns()
        host.finish(2, unknown=True)
    ended = await first
    assert isinstance(ended.error, LookupError) is ended.undecodable is (name == "strange")
    host.finish(len(host.calls) - 1)
    assert (await second).error is None


async def test_who_waits_may_start_a_process_once_there_is_room_for_one(site: Site) -> None:
    first, second, third = [run(site, Line()) for _ in range(3)]
    await turns()
    site._bound = 2
    site._look_again()
    second.cancel()  # it was told of the room, and hands it on
    await turns()
    assert [len(host.calls) for host in site.hosts] == [1, 1]
    for host in site.hosts:
        host.finish(0)
    assert [(await one).result for one in (first, third)] == [b"0", b"0"]
    assert second.cancelled()
