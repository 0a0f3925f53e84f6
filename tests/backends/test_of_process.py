"""What a backend has once for each process, whichever threads and forks ask for it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from treadle.backends.common.ofprocess import OfProcess
from treadle.backends.rabbitmq.threaded import Threaded


@pytest.fixture(autouse=True)
def busy() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def nothing(_: object) -> None:
    """Abandons nothing."""


@pytest.mark.parametrize("_again", range(50))
def test_threads_that_ask_at_once_get_the_same(_again: int) -> None:
    made: list[object] = []
    asked = threading.Event()

    def make() -> object:
        asked.wait(10)
        made.append(object())
        return made[-1]

    own = OfProcess(make, nothing)
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(own.get())) for _ in range(4)]
    assert own.known() is None
    for thread in threads:
        thread.start()
    asked.set()
    for thread in threads:
        thread.join()
    assert made == [own.known()]
    assert got == made * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_its_own_and_abandons_that_of_its_parent() -> None:
    abandoned: list[object] = []
    own = OfProcess(object, abandoned.append)
    ours = own.get()
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        told = f"{own.known() is None} {own.get() is not ours} {abandoned == [ours]}"
        os.write(there, told.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(here, 100) == b"True True True"
    os.close(here)
    os.close(there)
    assert own.get() is ours
    assert not abandoned


class Made:
    """What has connections, and takes its time to be made."""

    def __init__(self) -> None:
        # Others ask meanwhile.
        threading.Event().wait(0.1)
        self.opened = 0

    async def open(self) -> None:
        """One more."""
        self.opened += 1

    async def aclose(self) -> None:
        """Closed."""


class Backend(Threaded[Made]):
    def __init__(self) -> None:
        self.made: list[Made] = []
        super().__init__()

    def _made(self) -> Made:
        self.made.append(Made())
        return self.made[-1]


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = Backend()
    yield backend
    backend.close()


def opened_by_four(backend: Backend) -> list[int]:
    """How often each client was opened, when four loops open the backend at once."""
    ready = threading.Barrier(4)

    async def use() -> None:
        ready.wait(10)
        await backend.open()

    threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one.opened for one in backend.made]


def test_loops_that_open_a_backend_at_once_share_its_connections(backend: Backend) -> None:
    assert opened_by_four(backend) == [4]


def test_after_a_fork_nobody_uses_the_connections_of_the_parent(backend: Backend) -> None:
    """Not while the first one makes those of the child, either."""
    asyncio.run(backend.open())
    thread = backend._thread
    with pytest.MonkeyPatch.context() as patched:
        child = os.getpid() + 1
        patched.setattr(os, "getpid", lambda: child)
        assert opened_by_four(backend) == [1, 4]
        backend.close()
    thread.close()
