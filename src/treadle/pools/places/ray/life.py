"""One actor of a place, from its birth to its death."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from treadle.errors import NotEncodable
from treadle.logs import get_logger
from treadle.pools.places.process.parcel import Parcel, pack
from treadle.pools.places.ray.cluster import Actor
from treadle.pools.places.ray.host import Hello, Order
from treadle.pools.places.ray.hub import Hub
from treadle.pools.places.ray.journal import Findings, Report
from treadle.pools.rayoptions import RayNeeds

__all__ = ["Life"]

_log = get_logger("treadle.pools")
_SLOW = 15.0
"""Seconds after which it is said aloud that a worker waits for its cluster."""
_WATCH = 2.0
"""Seconds between looks whether there still is a cluster."""
_NOTHING = Findings(frozenset(), {})


class Life:
    """Speaks with an actor, and tells its place what it hears. Only on the hub.

    Args:
        name: of the worker.
        needs: of the cluster.
        plan: of the worker, packed.
        hub: of this process.
        met: told when calls can be sent.
        heard: told of reports.
        lost: told once, when the actor has died: why, and what its journal says; ``None`` when
            nobody can know.
    """

    def __init__(
        self,
        name: str,
        needs: RayNeeds,
        plan: Parcel,
        *,
        hub: Hub,
        met: Callable[[], None],
        heard: Callable[[tuple[Report, ...]], None],
        lost: Callable[[BaseException, Findings | None], None],
    ) -> None:
        self._name = name
        self._needs = needs
        self._hub = hub
        self._met = met
        self._heard = heard
        self._lost = lost
        self._hello: Hello | None = None
        self._messages = 0
        # Reports that have come.
        self._known = 0
        self._over = False
        self._actor = Actor(name, needs, plan.body, tuple(plan.buffers))
        hub.later(_SLOW, self._say_that_it_waits)
        self._actor.ask("hello", then=self._on_hub(self._meet))
        hub.later(_WATCH, self._watch)

    @property
    def is_met(self) -> bool:
        """Whether calls can be sent: only an actor of which it is known where its journal is."""
        return self._hello is not None

    @property
    def pid(self) -> int:
        """Its process, or 0 as long as that is not known."""
        return 0 if self._hello is None else self._hello.pid

    # ------------------------------------------------------------- messages

    def send(self, orders: list[Order]) -> None:
        """Have calls carried out."""
        message, self._messages = self._messages, self._messages + 1
        self._tell("deliver", message, orders)

    def drop(self, numbers: list[int]) -> None:
        """Have calls passed over that have not begun."""
        self._tell("drop", numbers)

    def tell_stopping(self) -> None:
        """Have code that asks know that it should find a good place to end."""
        self._tell("tell_stopping")

    def interrupt(
        self,
        number: int,
        reason: BaseException,
        then: Callable[[str | None], None],
        dropped: list[int],
    ) -> None:
        """Ask a call to end; what the actor answers, ``None`` when it cannot.

        Args:
            number, reason: of the call.
            then: is given the answer.
            dropped: calls that are not to begin when it has ended.
        """
        told = self._on_hub(lambda answer, _: then(answer))
        try:
            self._actor.ask("interrupt", number, _packed(reason), dropped, then=told)
        except Exception as error:  # noqa: BLE001 - the cluster has gone
            self._die(error)

    def _tell(self, verb: str, *args: Any) -> None:
        try:
            self._actor.tell(verb, *args)
        except Exception as error:  # noqa: BLE001 - the cluster has gone
            self._die(error)

    def _collect(self) -> None:
        try:
            self._actor.ask("collect", self._known, then=self._on_hub(self._hear))
        except Exception as error:  # noqa: BLE001 - the cluster has gone
            self._die(error)

    def _on_hub(self, step: Callable[[Any, BaseException | None], None]) -> Any:
        """The step as what is told an answer, in whatever thread."""

        def then(answer: Any, error: BaseException | None) -> None:
            self._hub.do(partial(step, answer, error))

        return then

    # ------------------------------------------------------------- answers

    def _meet(self, hello: Hello | None, error: BaseException | None) -> None:
        if self._over:
            return
        if hello is None:
            assert error is not None
            self._die(error)
            return
        self._hello = hello
        self._collect()
        self._met()

    def _watch(self) -> None:
        """Ray tells nobody who waits that it was shut down."""
        if self._over:
            return
        gone = self._actor.gone
        if gone is not None:
            self._die(gone)
        else:
            self._hub.later(_WATCH, self._watch)

    def _say_that_it_waits(self) -> None:
        if self._hello is None and not self._over:
            _log.warning(
                "ray.worker_waits",
                worker=self._name,
                needs=self._needs.amounts,
                seconds=_SLOW,
                hint="its cluster has no room for it yet, or prepares its runtime_env",
            )

    def _hear(self, reports: tuple[Report, ...] | None, error: BaseException | None) -> None:
        if self._over:
            return
        if reports is None:
            assert error is not None
            self._die(error)
            return
        self._known += len(reports)
        # Asked before it is told: whoever hears of an end may wait for the next one.
        self._collect()
        self._heard(reports)

    # ------------------------------------------------------------- ends

    def _die(self, error: BaseException) -> None:
        if self._over:
            return
        self._over = True
        if self._hello is None:
            self._lost(error, _NOTHING)
            return
        if not self._actor.is_dead(error):
            # It may go on, where nobody reaches it.
            self._actor.kill()
            self._lost(error, None)
            return
        then = self._on_hub(lambda found, _: self._lost(error, found))
        try:
            self._actor.inquest(self._hello.node, self._hello.journal, then)
        except Exception:  # noqa: BLE001 - the cluster has gone
            self._lost(error, None)

    def kill(self) -> None:
        """End the process; the place is told of the death."""
        self._actor.kill()

    def finish(self) -> None:
        """End the process; nobody is told anything any more."""
        self._over = True
        self._actor.kill()
        if self._hello is not None:
            self._actor.forget(self._hello.node, self._hello.journal)


def _packed(reason: BaseException) -> bytes:
    try:
        return pack(reason, "the reason to end", whole=True).body
    except NotEncodable:  # one that cannot travel is none
        return b""
