"""Named points in the protocol at which a test may make something happen.

Off they cost a function call. They are armed by the environment, which reaches child
processes::

    TREADLE_FAILPOINTS = "ack.before_send=kill9@0.02;claim.after_reply=sleep:5"

or by a test, for a block: ``with active({"ack.before_send": "raise"}): …``. A rule is
``action[:argument][#n][@probability]``: ``#n`` acts at the n-th pass only, ``@p`` at a share of
the passes, chosen by ``TREADLE_FAILPOINTS_SEED`` or the ``seed`` of :func:`active`.

========== ===============================================================
action     what happens at the point
========== ===============================================================
``kill9``  the process gets SIGKILL
``stop``   the process gets SIGSTOP
``exit``   the process ends at once, with the status of the argument (1)
``raise``  :class:`InjectedFault`
``drop``   ``ConnectionResetError``, as of a connection that broke
``sleep``  the thread is held for the seconds of the argument (1)
``cancel`` the running asyncio task is cancelled
========== ===============================================================
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import msgspec

from treadle.errors import InvalidOption, TreadleError, UnknownOption
from treadle.hints import did_you_mean

__all__ = [
    "ACTIONS",
    "ENVIRONMENT",
    "MESSAGE_NAMES",
    "NAMES",
    "ROUTE_NAMES",
    "SHARD_NAMES",
    "SPOOL_NAMES",
    "InjectedFault",
    "active",
    "armed",
    "failpoint",
    "watched",
]

ENVIRONMENT = "TREADLE_FAILPOINTS"
NAMES = (
    "enqueue.before_send",
    "enqueue.sent_no_reply",
    "enqueue.after_reply",
    "claim.before_send",
    "claim.sent_no_reply",
    "claim.after_reply",
    "claim.decoded",
    "run.before_handler",
    "run.inside",
    "run.after_handler",
    "result.serialised",
    "ack.before_send",
    "ack.sent_no_reply",
    "ack.after_reply",
    "retry.before_send",
    "retry.sent_no_reply",
    "retry.after_reply",
    "extend.before_send",
    "extend.sent_no_reply",
    "extend.after_reply",
    "promote.before_send",
    "promote.sent_no_reply",
    "promote.after_reply",
    "reap.before_send",
    "reap.sent_no_reply",
    "reap.after_reply",
)
"""Every point that a job passes on every backend, in the order of its life."""
MESSAGE_NAMES = (
    "message.before_send",
    "message.after_send",
    "message.before_ack",
    "message.after_ack",
)
"""The points of RabbitMQ with a companion: the companion was written, and then the broker is."""

SHARD_NAMES = ("letters.before_delivery", "letters.before_drop")
"""The points of Redis in shards: what one shard has for another is taken there, then removed."""

ROUTE_NAMES = ("routed.pushed_before_settle",)
"""The point of several backends: what follows a job elsewhere is there, the job has not ended."""

SPOOL_NAMES = (
    "spool.before_write",
    "spool.after_write",
    "spool.before_send",
    "spool.after_send",
    "spool.after_delete",
)
"""The points of a producer's spool: a job is put into the file, and forwarded from it."""


class InjectedFault(TreadleError):
    """The error of the action ``raise``. Attribute: ``point``."""

    point: str


class _Rule(msgspec.Struct, frozen=True):
    point: str
    action: str
    argument: float = 1.0
    # Act at this pass only; 0 at every one.
    nth: int = 0
    probability: float = 1.0
    seed: str = ""

    def chooses(self, passes: int) -> bool:
        if self.nth and passes != self.nth:
            return False
        if self.probability >= 1.0:
            return True
        # The choice depends on nothing but the seed, the point and the number of the pass,
        # so that threads and other points do not change it.
        digest = hashlib.blake2b(f"{self.seed}:{self.point}:{passes}".encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "big") < self.probability * 2.0**64


_armed = False
_rules: dict[str, _Rule] = {}
_watchers: dict[str, list[Callable[[], object]]] = {}
_passes: dict[str, int] = {}
_lock = threading.RLock()


def failpoint(name: str) -> None:
    """A point of this name. Nothing happens here unless a test arms it."""
    if _armed:
        _pass(name)


def armed() -> bool:
    """Whether any point may act, for those who have to work out which points they pass."""
    return _armed


@contextmanager
def active(rules: Mapping[str, str], *, seed: int = 0) -> Iterator[None]:
    """A block in which points act, for all threads of this process.

    Args:
        rules: point to ``action[:argument][#n][@probability]``.
        seed: chooses the passes for a probability.

    Raises:
        UnknownOption: there is no such point, with the nearest one.
        InvalidOption: a rule that cannot be read.
    """
    parsed = {name: _rule(name, text, str(seed)) for name, text in rules.items()}
    with _lock:
        before, passes = dict(_rules), {name: _passes.pop(name, 0) for name in parsed}
        _rules.update(parsed)
        _arm()
    try:
        yield
    finally:
        with _lock:
            _rules.clear()
            _rules.update(before)
            _passes.update(passes)
            _arm()


@contextmanager
def watched(name: str, callback: Callable[[], object]) -> Iterator[None]:
    """A block in which each pass of a point calls back, before its rule acts, in its thread."""
    _known(name)
    with _lock:
        _watchers.setdefault(name, []).append(callback)
        _arm()
    try:
        yield
    finally:
        with _lock:
            _watchers[name].remove(callback)
            if not _watchers[name]:
                del _watchers[name]
            _arm()


def _arm() -> None:
    global _armed
    _armed = bool(_rules or _watchers)


def _pass(name: str) -> None:
    _known(name)
    with _lock:
        _passes[name] = _passes.get(name, 0) + 1
        passes, rule = _passes[name], _rules.get(name)
        watchers = tuple(_watchers.get(name, ()))
    for callback in watchers:
        callback()
    if rule is not None and rule.chooses(passes):
        ACTIONS[rule.action](rule)


def _kill9(_: _Rule) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(_: _Rule) -> None:
    # To this thread: sent to the process, another may take it, and this one gets past the point.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def _exit(rule: _Rule) -> None:
    os._exit(int(rule.argument))


def _raise(rule: _Rule) -> None:
    raise InjectedFault(f"failpoint {rule.point}", point=rule.point)


def _drop(rule: _Rule) -> None:
    raise ConnectionResetError(f"failpoint {rule.point}: the connection was dropped")


def _sleep(rule: _Rule) -> None:
    # Real time also under a manual clock: it stands for a process that hangs.
    threading.Event().wait(rule.argument)


def _cancel(rule: _Rule) -> None:
    task = None
    with suppress(RuntimeError):  # no loop runs in this thread
        task = asyncio.current_task()
    if task is None:
        raise InvalidOption(
            f"failpoint {rule.point}: 'cancel' needs a running asyncio task, and none runs here",
            option=rule.point,
            value=rule.action,
        )
    task.cancel(f"failpoint {rule.point}")


ACTIONS: Mapping[str, Callable[[_Rule], None]] = {
    "kill9": _kill9,
    "stop": _stop,
    "exit": _exit,
    "raise": _raise,
    "drop": _drop,
    "sleep": _sleep,
    "cancel": _cancel,
}
"""What a point can do, by name."""


def _known(name: str) -> None:
    known = (*NAMES, *MESSAGE_NAMES, *SHARD_NAMES, *ROUTE_NAMES, *SPOOL_NAMES)
    if name in known:
        return
    raise UnknownOption(
        f"there is no failpoint {name!r}{did_you_mean(name, known)}. "
        f"Known points: {', '.join(known)}",
        option=name,
        known=known,
    )


def _rule(name: str, text: str, seed: str) -> _Rule:
    _known(name)
    rest, _, probability = text.partition("@")
    rest, _, nth = rest.partition("#")
    action, _, argument = rest.partition(":")
    try:
        rule = _Rule(
            name, action, float(argument or 1), int(nth or 0), float(probability or 1), seed
        )
    except ValueError:
        rule = None
    if rule is None or action not in ACTIONS or not 0 <= rule.probability <= 1:
        raise InvalidOption(
            f"failpoint {name}: cannot read {text!r}; write action[:argument][#n][@probability] "
            f"with one of the actions {', '.join(ACTIONS)}, as in 'kill9@0.02' or 'sleep:5#1'",
            option=name,
            value=text,
        )
    return rule


def _from_environment() -> None:
    """Arm what the environment asks for.

    Without a seed each process chooses differently, by its id; else one that is restarted would
    die at the same pass for ever.
    """
    text = os.environ.get(ENVIRONMENT, "")
    seed = os.environ.get(f"{ENVIRONMENT}_SEED") or str(os.getpid())
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, rule = part.partition("=")
        _rules[name.strip()] = _rule(name.strip(), rule.strip(), seed)
    _arm()


_from_environment()
