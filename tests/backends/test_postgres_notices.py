"""How often processes that share PostgreSQL tell each other of changes."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from treadle.backends.postgres.notices import Notices, pack, unpack
from treadle.backends.postgres.wake import Notice
from treadle.testing import ManualClock, eventually

_STEP = 0.001
"""Seconds between two changes of a process that always has something to tell."""


class _Channel:
    """Numbers the notices of all who send, as the server does."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sent: list[tuple[float, Notice]] = []
        self.failing = False

    def sender(self) -> Notices:
        return Notices(self._send, self.clock)

    async def _send(self, notice: Notice) -> int:
        if self.failing:
            raise ConnectionResetError
        self.sent.append((self.clock.monotonic(), notice))
        return len(self.sent)

    def rate(self, since: float) -> float:
        """Notices a second from an instant on."""
        late = [at for at, _ in self.sent if at >= since]
        return len(late) / (self.clock.monotonic() - since)

    def queues(self) -> list[str]:
        return [queue for _, notice in self.sent for queue in notice.ready]

    async def until_told(self, queue: str) -> None:
        await eventually(lambda: queue in self.queues())


async def _flood(channel: _Channel, senders: list[Notices], seconds: float) -> None:
    """Have each tell something every millisecond."""
    numbers = count()
    for _ in range(round(seconds / _STEP)):
        for sender in senders:
            sender.tell(Notice(ready=(f"q{next(numbers)}",)))
        await channel.clock.aadvance(_STEP)


async def test_what_a_job_needs_is_told_at_once() -> None:
    channel = _Channel()
    sender = channel.sender()
    for step in ("pushed", "awaited", "ended"):
        sender.tell(Notice(ready=(step,)))
        await channel.until_told(step)
    assert [at for at, _ in channel.sent] == [0.0, 0.0, 0.0]
    await sender.aclose()


async def test_what_comes_while_one_is_sent_goes_together() -> None:
    channel = _Channel()
    sender = channel.sender()
    for number in range(100):
        sender.tell(Notice(ready=(f"q{number}",)))
    await sender.aclose()
    assert len(channel.sent) == 2
    assert sorted(channel.queues()) == sorted(f"q{number}" for number in range(100))


@pytest.mark.parametrize(
    ("senders", "least", "most"), [(1, 250, 305), (3, 250, 320), (20, 250, 320), (50, 400, 510)]
)
async def test_under_a_flood_the_whole_fleet_sends_so_many_a_second(
    senders: int, least: float, most: float
) -> None:
    """Three hundred together, however many they are; ten each when that is more."""
    channel = _Channel()
    fleet = [channel.sender() for _ in range(senders)]
    await _flood(channel, fleet, 1.0)
    await _flood(channel, fleet, 1.0)
    assert least <= channel.rate(1.0) <= most
    for one in fleet:
        await one.aclose()


async def test_a_flood_of_others_delays_nobody_who_was_silent_for_long() -> None:
    channel = _Channel()
    fleet = [channel.sender() for _ in range(3)]
    rare = channel.sender()
    rare.tell(Notice(ready=("first",)))
    await _flood(channel, fleet, 2.0)
    began = channel.clock.monotonic()
    rare.tell(Notice(ready=("second",)))
    await channel.until_told("second")
    assert channel.clock.monotonic() == began
    for one in (*fleet, rare):
        await one.aclose()


async def test_nothing_is_lost_under_a_flood_and_a_close() -> None:
    channel = _Channel()
    sender = channel.sender()
    await _flood(channel, [sender], 0.5)
    await sender.aclose()
    assert sorted(channel.queues()) == sorted(f"q{number}" for number in range(500))


async def test_who_cannot_send_goes_on_later_and_no_faster() -> None:
    channel = _Channel()
    sender = channel.sender()
    channel.failing = True
    await _flood(channel, [sender], 0.5)
    channel.failing = False
    await _flood(channel, [sender], 1.0)
    assert 250 <= channel.rate(0.5) <= 310
    await sender.aclose()


async def test_a_sender_is_quick_again_once_it_was_silent() -> None:
    channel = _Channel()
    sender = channel.sender()
    await _flood(channel, [sender], 1.0)
    await channel.clock.aadvance(1.0)
    for queue in ("one", "two"):
        sender.tell(Notice(ready=(queue,)))
        await channel.until_told(queue)
    await sender.aclose()


@pytest.mark.parametrize("how", ["closed", "terminated"])
async def test_nothing_is_told_any_more_once_it_is_closed(how: str) -> None:
    """Or a task would be left in the loop, and a connection be made that nobody closes."""
    told: list[Notice] = []
    release = asyncio.Event()

    async def send(notice: Notice) -> int:
        told.append(notice)
        await release.wait()
        return len(told)

    notices = Notices(send, ManualClock())
    notices.tell(Notice(ready=("one",)))
    notices.tell(Notice(ready=("two",)))
    await eventually(lambda: len(told) == 1)
    if how == "closed":
        release.set()
        await notices.aclose()
    else:
        notices.terminate()
    notices.tell(Notice(ready=("three",)))
    # The first at once, the second with the end if there is time for one, the third never.
    assert [notice.ready for notice in told] == [("one",), ("two",)][: 2 if how == "closed" else 1]


def test_a_notice_travels_whole() -> None:
    jobs = tuple((f"01a20607-cde5-7000-a3b6-{number:012}", True) for number in range(120))
    notice = Notice(ready=("mail",), wants_jobs=jobs)
    assert unpack(pack("somebody", notice)) == ("somebody", notice)
