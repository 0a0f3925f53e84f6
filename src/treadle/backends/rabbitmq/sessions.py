"""Sessions, and the deliveries that are their leases."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec
from aiormq.abc import AbstractChannel

from treadle.backends.rabbitmq.endings import Lease
from treadle.backends.rabbitmq.link import Link, end, is_lost, why_lost
from treadle.backends.rabbitmq.receipts import Handed, Receipts
from treadle.backends.rabbitmq.refusals import told
from treadle.logs import get_logger
from treadle.ports import Claimed
from treadle.records import Session, Token

__all__ = ["Delivery", "Desk", "Desks", "confirmed"]

_log = get_logger("treadle.rabbitmq")
_REMEMBERED = 10_000


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A lease: a message that this process has and has not acknowledged."""

    handed: Handed
    lease: Lease

    @property
    def lost(self) -> bool:
        """The server has given the message to others."""
        return self.handed.lost


class Desk:
    """What one session has: its channel, its last answer, its leases.

    Args:
        session: as it was opened.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._receipts: Receipts | None = None
        # One claim at a time.
        self.claiming = asyncio.Lock()
        self.request = 0
        self.answer = Claimed()
        # Delivered while other jobs ran; each runs alone when they are over.
        self.suspects: list[Delivery] = []
        self.leases: dict[Token, Delivery] = {}

    @property
    def channel(self) -> AbstractChannel | None:
        """That of the leases."""
        return None if self._receipts is None else self._receipts.channel

    async def open_channel(self, link: Link) -> Receipts:
        """The channel of the leases; another one, and no lease, when it was closed."""
        receipts = self._receipts
        if receipts is None or is_lost(receipts.channel):
            self.forget_lost()
            channel = await link.channel("serve", publisher_confirms=False)
            receipts = self._receipts = Receipts(channel)
        return receipts

    async def leave_channel(self) -> None:
        """Close the channel; the server gives to others what is not acknowledged."""
        channel = self.channel
        if channel is not None and not is_lost(channel):
            await end(channel)
            if not is_lost(channel):
                await end(channel.connection)
        self.forget_lost()

    def forget_lost(self) -> None:
        """Leases and suspects of closed channels are others' by now."""
        lost = {token: held for token, held in self.leases.items() if held.lost}
        for token in lost:
            del self.leases[token]
        self.suspects = [one for one in self.suspects if not one.lost]
        if lost:
            _log.warning(
                "leases.lost",
                session=self.session.info.name,
                jobs=len(lost),
                why=why_lost(next(iter(lost.values())).handed.receipts.channel),
                hint="the server has closed the channel; these jobs run again",
            )

    def holds(self, job_id: str) -> bool:
        """Whether a lease of this job is here."""
        return any(token.job_id == job_id for token in self.leases)


class Desks:
    """The sessions of this process."""

    def __init__(self) -> None:
        self._open: dict[int, Desk] = {}
        # Tokens that were settled here, so that a repeat is told so.
        self._settled: OrderedDict[Token, None] = OrderedDict()

    def add(self, session: Session) -> None:
        """A session was opened."""
        self._open[session.nonce] = Desk(session)

    def find(self, nonce: int) -> Desk | None:
        """The session with this nonce."""
        return self._open.get(nonce)

    def remove(self, nonce: int) -> Desk | None:
        """A session is closed."""
        return self._open.pop(nonce, None)

    def held(self, token: Token) -> Delivery | None:
        """The lease of a token that is still good."""
        desk = self._open.get(token.nonce)
        held = None if desk is None else desk.leases.get(token)
        if desk is not None and held is not None and held.lost:
            desk.forget_lost()
            return None
        return held

    def over(self, token: Token) -> None:
        """A lease has ended, well or not."""
        desk = self._open.get(token.nonce)
        if desk is not None:
            desk.leases.pop(token, None)

    def settled(self, token: Token) -> None:
        """A token was settled."""
        self._settled[token] = None
        while len(self._settled) > _REMEMBERED:
            self._settled.popitem(last=False)

    def was_settled(self, token: Token) -> bool:
        """Whether this very token was settled here before."""
        return token in self._settled


async def confirmed(channel: AbstractChannel, link: Link) -> None:
    """Return when the server has read everything that was sent on a channel before.

    Acknowledgements have no answer of their own.
    """
    with told(link.address.url):
        # It flows already: this is asked for the answer.
        await channel.flow(active=True, timeout=link.address.patience)
