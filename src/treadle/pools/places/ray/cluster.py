"""The cluster that this process is in, or starts, and actors in it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from treadle.errors import Unsupported, WorkerNotStarted, WorkerStopped
from treadle.logs import get_logger
from treadle.pools.options import cores
from treadle.pools.places.ray.host import Reception
from treadle.pools.places.ray.hub import leave_at_exit
from treadle.pools.places.ray.journal import exhumed
from treadle.pools.rayoptions import RayNeeds

__all__ = ["Actor", "enter", "node_of_this_process", "require_ray", "room_for"]

# Ray's own word for "do not ask for an address that other machines can reach".
_LOCAL_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_STORE = 512 << 20
"""Bytes of the object store of a cluster that is started here."""
# Messages that an actor takes at once: one waits for results, the others are quick.
_AT_ONCE = 4

_log = get_logger("treadle.pools")
_entering = threading.Lock()


def require_ray() -> None:
    """Return when Ray is installed.

    Raises:
        Unsupported: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise Unsupported(
            "mode='ray' needs Ray, which is not installed: pip install 'treadle[ray]'",
            feature="ray",
        )


def _ray() -> Any:
    return importlib.import_module("ray")


def enter(needs: RayNeeds) -> Any:
    """Ray, in a cluster: that of this process, the one that is named, or a fresh one here.

    A fresh one listens to this machine only, has no dashboard, and ends with this process.
    """
    with _entering:
        address = needs.address or os.environ.get("RAY_ADDRESS")
        if "ray" in sys.modules and _ray().is_initialized():
            leave_at_exit()
            return _ray()
        if address is not None and address != "local":
            ray = _ray()
            ray.init(address=address, configure_logging=False)
            _warn_when_open(address)
            leave_at_exit()
            return ray
        with _local_only(), _quiet():
            ray = _ray()
            ray.init(
                address="local",
                num_cpus=cores(),
                include_dashboard=False,
                object_store_memory=_STORE,
                configure_logging=False,
                _node_ip_address="127.0.0.1",
            )
        leave_at_exit()
        return ray


@contextmanager
def _local_only() -> Iterator[None]:
    before = os.environ.get(_LOCAL_ONLY)
    os.environ[_LOCAL_ONLY] = "0"
    constants: Any = importlib.import_module("ray._private.ray_constants")
    reachable = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = reachable
        if before is None:
            del os.environ[_LOCAL_ONLY]
        else:
            os.environ[_LOCAL_ONLY] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray tells of what has been decided here as if it were news."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _warn_when_open(address: str) -> None:
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        _log.warning(
            "ray.without_token",
            address=address,
            hint="whoever reaches this cluster can run code in it; set RAY_AUTH_MODE=token",
        )


def node_of_this_process() -> str:
    """The node of the cluster that this runs on."""
    node: str = _ray().get_runtime_context().get_node_id()
    return node


def room_for(needs: RayNeeds) -> int:
    """How many actors with such needs the cluster can have at a time, at least 1.

    Those that need nothing are as many as there are processors.
    """
    ray = _ray()
    if not ray.is_initialized():
        return 1
    there: dict[str, float] = ray.cluster_resources()
    rooms = [there.get(one, 0) // some for one, some in (needs.amounts or {"CPU": 1.0}).items()]
    return max(1, int(min(rooms)))


class Actor:
    """An actor with a host in it. Its verbs give Ray's references; nothing here blocks.

    It is started once, and Ray never repeats a call by itself.

    Args:
        name: of the worker.
        needs: of the cluster.
        plan, buffers: of the worker, packed.

    Raises:
        WorkerNotStarted: no node of a cluster that cannot grow has what it needs; or the cluster
            is on this machine and Ray cannot start Python with an environment from its path.
    """

    def __init__(self, name: str, needs: RayNeeds, plan: bytes, buffers: tuple[Any, ...]) -> None:
        self._ray = enter(needs)
        self._began_in = self._session()
        self._refuse_impossible(name, needs)
        asked: dict[str, Any] = {
            "num_cpus": needs.num_cpus,
            "num_gpus": needs.num_gpus,
            "resources": needs.resources or None,
            "runtime_env": needs.runtime_env or None,
        }
        options = {option: value for option, value in asked.items() if value is not None}
        self.remote: Any = (
            self._ray.remote(Reception)
            .options(max_restarts=0, max_task_retries=0, max_concurrency=_AT_ONCE, **options)
            .remote(name, plan, buffers, logging.getLogger().getEffectiveLevel())
        )

    def _refuse_impossible(self, name: str, needs: RayNeeds) -> None:
        amounts = needs.amounts
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        # Ray would wait for ever: its shell takes the path for several words.
        if needs.runtime_env and len(sys.executable.split()) > 1 and _is_only_ours(nodes):
            raise WorkerNotStarted(
                f"{name} is to have a runtime_env, and Ray starts such workers by a shell line "
                f"that does not quote the path of Python, {sys.executable!r}; "
                "make the environment in a folder without spaces in its path",
                worker=name,
            )
        if not amounts or any(
            all(node.get(one, 0) >= some for one, some in amounts.items()) for node in nodes
        ):
            return
        wanted = ", ".join(f"{some:g} {one}" for one, some in amounts.items())
        if _is_only_ours(nodes):
            raise WorkerNotStarted(
                f"{name} needs {wanted}, and the cluster on this machine will never have that",
                worker=name,
            )
        _log.warning("ray.no_node_has", worker=name, needs=wanted,
                     hint="it starts once the cluster has a node that does")  # fmt: skip

    @property
    def gone(self) -> BaseException | None:
        """Why it cannot be reached any more, when this process has left its cluster."""
        if self._ray.is_initialized() and self._session() == self._began_in:
            return None
        return WorkerStopped("the cluster was left: ray.shutdown() was called")

    def _session(self) -> Any:
        return self._ray.get_runtime_context().get_job_id()

    def is_dead(self, error: BaseException) -> bool:
        """Whether an error says that it will not do anything any more."""
        return isinstance(error, self._ray.exceptions.ActorDiedError)

    def tell(self, verb: str, *args: Any) -> None:
        """Send a message to which nobody needs an answer."""
        self._send(verb, args)

    def _send(self, verb: str, args: tuple[Any, ...]) -> Any:
        # Ray would start another cluster.
        if not self._ray.is_initialized():
            raise self.gone or AssertionError
        return getattr(self.remote, verb).remote(*args)

    def ask(self, verb: str, *args: Any, then: Callable[[Any, BaseException | None], None]) -> None:
        """Send a message; the answer, or why there is none, goes to ``then`` in another thread."""
        _hear(self._send(verb, args), then)

    def kill(self) -> None:
        """End its process, whatever it does."""
        if self.gone is None:
            self._ray.kill(self.remote, no_restart=True)

    def inquest(self, node: str, journal: str, then: Callable[[Any, Any], None]) -> None:
        """Have the journal of a dead actor read and removed, on the machine where it is."""
        found = exhumed(journal)
        if found is not None:
            then(found, None)
        else:
            _hear(self._there(node).remote(journal), then)

    def forget(self, node: str, journal: str) -> None:
        """Have the journal of an actor removed that was ended."""
        if exhumed(journal) is None and not self.gone and node != node_of_this_process():
            self._there(node).remote(journal)

    def _there(self, node: str) -> Any:
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        return self._ray.remote(exhumed).options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node, soft=False),
        )


def _hear(reference: Any, then: Callable[[Any, BaseException | None], None]) -> None:
    def told(future: Any) -> None:
        error = future.exception()
        then(None if error is not None else future.result(), error)

    reference.future().add_done_callback(told)


def _is_only_ours(nodes: list[dict[str, Any]]) -> bool:
    """Whether a cluster is this machine, and no other can join."""
    return len(nodes) == 1 and "node:127.0.0.1" in nodes[0]
