"""What a region of limits holds: keys, what is held of them, and who waits. Fixed records."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from treadle.errors import BackendFull
from treadle.policies.rates import State
from treadle.pools.limiting.processes import Identity
from treadle.pools.limiting.region import BODY, Region

__all__ = ["KEYS_MOST", "SIZE", "Held", "Key", "Queued", "Tables"]

_HEAD = struct.Struct("<QQdIIIII20x")
_KEY = struct.Struct("<16s4dqII")
_HELD = struct.Struct("<QQIIII")
KEYS_MOST = 16
"""Keys of one request."""
_QUEUED = struct.Struct(f"<QQIBB2x{KEYS_MOST}I")
_WOKEN_AT = 20  # of its byte in the record

_KEYS, _HELDS, _QUEUEDS = 4096, 8192, 1024
_NEAR = 32
"""Records in which a key may be, from the one that its hash says."""
_AT_HEAD = BODY
_AT_KEYS = _AT_HEAD + _HEAD.size
_AT_HELDS = _AT_KEYS + _KEYS * _KEY.size
_AT_QUEUEDS = _AT_HELDS + _HELDS * _HELD.size
SIZE = _AT_QUEUEDS + _QUEUEDS * _QUEUED.size - BODY


class Key(NamedTuple):
    """What counts for one key."""

    hash: bytes
    s0: float = 0.0
    s1: float = 0.0
    s2: float = 0.0
    # From then on its rate is as good as never used.
    fades: float = 0.0
    # Units held.
    used: int = 0
    # Requests in its line.
    waiting: int = 0
    # Numbers of the state of its rate.
    numbers: int = 0

    @property
    def state(self) -> State:
        """The state of its rate."""
        return self[1 : 1 + self.numbers]  # type: ignore[return-value]

    def spent(self, state: State, fades: float) -> Key:
        """The key with another state of its rate."""
        s0, s1, s2 = (*state, 0.0, 0.0, 0.0)[:3]
        return self._replace(s0=s0, s1=s1, s2=s2, fades=fades, numbers=len(state))


class Held(NamedTuple):
    """Units of one key that a permit has."""

    # 0 in a record that is free.
    permit: int
    start: int
    pid: int
    key: int
    units: int
    # The next free record and 1, in one that is free.
    next: int = 0

    @property
    def who(self) -> Identity:
        """The process that holds it."""
        return Identity(self.pid, self.start)


class Queued(NamedTuple):
    """A request in line."""

    # Order of arrival; 0 in a record that is free.
    number: int
    who: Identity
    # Whether it should ask again.
    woken: bool
    keys: tuple[int, ...]


class _Head(NamedTuple):
    arrivals: int = 0
    permits: int = 0
    # When the dead were looked for.
    swept: float = 0.0
    # Records that were ever used; behind them all are free.
    helds: int = 0
    queueds: int = 0
    # The first free record and 1.
    free: int = 0
    # Requests in line.
    waiting: int = 0
    spare: int = 0


class Tables:
    """The records of a region, inside a step.

    Args:
        region: has them.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        # Where keys were found last; somebody else may have the record by now.
        self._found: dict[str, tuple[bytes, int]] = {}

    # ------------------------------------------------------------- the head

    @property
    def head(self) -> _Head:
        """Counters of the whole."""
        return _Head(*_HEAD.unpack(self._region.read(_AT_HEAD, _HEAD.size)))

    def set_head(self, head: _Head) -> None:
        """Change them."""
        self._region.write(_AT_HEAD, _HEAD.pack(*head))

    # ------------------------------------------------------------- keys

    def index_of(self, name: str, now: float) -> int:
        """The record of a key, which it is given now if it has none.

        Raises:
            BackendFull: too many keys are in use.
        """
        found = self._found.get(name)
        if found is None:
            digest = blake2b(name.encode(), digest_size=16).digest()
        else:
            digest, index = found
            if self.key(index).hash == digest:
                return index
        index = self._place(digest, now)
        if len(self._found) >= _KEYS:
            self._found.clear()
        self._found[name] = digest, index
        return index

    def _place(self, digest: bytes, now: float) -> int:
        first = int.from_bytes(digest[:4], "little")
        room = None
        for step in range(_NEAR):
            index = (first + step) % _KEYS
            key = self.key(index)
            if key.hash == digest:
                return index
            if room is None and not key.used and not key.waiting and key.fades <= now:
                room = index
        if room is None:
            raise BackendFull(
                f"{self._region.path} has no room for another key: limits by value of more than "
                f"{_KEYS} values at a time are for the store of an app"
            )
        self.set_key(room, Key(digest))
        return room

    def known(self, name: str) -> Key | None:
        """A key, if it has a record."""
        digest = blake2b(name.encode(), digest_size=16).digest()
        first = int.from_bytes(digest[:4], "little")
        near = (self.key((first + step) % _KEYS) for step in range(_NEAR))
        return next((key for key in near if key.hash == digest), None)

    def key(self, index: int) -> Key:
        """The record of a key."""
        return Key(*_KEY.unpack(self._region.read(_AT_KEYS + index * _KEY.size, _KEY.size)))

    def set_key(self, index: int, key: Key) -> None:
        """Change it."""
        self._region.write(_AT_KEYS + index * _KEY.size, _KEY.pack(*key))

    # ------------------------------------------------------------- what is held

    def hold(self, permit: int, who: Identity, key: int, units: int) -> int:
        """Take down what a permit has; the record.

        Raises:
            BackendFull: too much is held.
        """
        head = self.head
        if head.free:
            index = head.free - 1
            self.set_head(head._replace(free=self.held(index).next))
        else:
            index = head.helds
            if index == _HELDS:
                raise BackendFull(
                    f"{self._region.path} has no room for what is held: {_HELDS} holds"
                )
            self.set_head(head._replace(helds=index + 1))
        self._set_held(index, Held(permit, who.start, who.pid, key, units))
        return index

    def let_go(self, index: int) -> None:
        """Free a record."""
        head = self.head
        self._set_held(index, Held(0, 0, 0, 0, 0, head.free))
        self.set_head(head._replace(free=index + 1))

    def held(self, index: int) -> Held:
        """The record of a hold."""
        return Held(*_HELD.unpack(self._region.read(_AT_HELDS + index * _HELD.size, _HELD.size)))

    def _set_held(self, index: int, held: Held) -> None:
        self._region.write(_AT_HELDS + index * _HELD.size, _HELD.pack(*held))

    def all_held(self) -> Iterator[tuple[int, Held]]:
        """Everything that is held."""
        for index in range(self.head.helds):
            held = self.held(index)
            if held.permit:
                yield index, held

    # ------------------------------------------------------------- lines

    def line_up(self, who: Identity, keys: tuple[int, ...]) -> tuple[int, Queued]:
        """Put a request in line; its record.

        Raises:
            BackendFull: too many wait.
        """
        head = self.head
        index = next((i for i in range(head.queueds) if not self.queued(i).number), head.queueds)
        if index == _QUEUEDS:
            raise BackendFull(f"{self._region.path} has no room for who waits: {_QUEUEDS} requests")
        queued = Queued(head.arrivals + 1, who, False, keys)
        self.set_queued(index, queued)
        self.set_head(
            head._replace(
                arrivals=queued.number,
                queueds=max(head.queueds, index + 1),
                waiting=head.waiting + 1,
            )
        )
        for key in keys:
            found = self.key(key)
            self.set_key(key, found._replace(waiting=found.waiting + 1))
        return index, queued

    def leave(self, index: int, queued: Queued) -> None:
        """Take a request out of its lines."""
        self.set_queued(index, Queued(0, Identity(0, 0), False, ()))
        head = self.head
        waiting = head.waiting - 1
        self.set_head(head._replace(waiting=waiting, queueds=head.queueds if waiting else 0))
        for key in queued.keys:
            found = self.key(key)
            self.set_key(key, found._replace(waiting=found.waiting - 1))

    def queued(self, index: int) -> Queued:
        """The record of a request."""
        at = _AT_QUEUEDS + index * _QUEUED.size
        number, start, pid, woken, count, *keys = _QUEUED.unpack(
            self._region.read(at, _QUEUED.size)
        )
        return Queued(number, Identity(pid, start), bool(woken), tuple(keys[:count]))

    def set_queued(self, index: int, queued: Queued) -> None:
        """Change it."""
        number, who, woken, keys = queued
        padded = (*keys, *(0,) * (KEYS_MOST - len(keys)))
        record = _QUEUED.pack(number, who.start, who.pid, woken, len(keys), *padded)
        self._region.write(_AT_QUEUEDS + index * _QUEUED.size, record)

    def is_woken(self, index: int) -> bool:
        """Whether a request should ask again; outside of a step, too."""
        return bool(self._region.peek(_AT_QUEUEDS + index * _QUEUED.size + _WOKEN_AT))

    def all_queued(self) -> Iterator[tuple[int, Queued]]:
        """Everybody in line."""
        for index in range(self.head.queueds):
            queued = self.queued(index)
            if queued.number:
                yield index, queued
