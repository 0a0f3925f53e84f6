"""What a backend has once for each process, whichever threads and forks ask for it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from treadle.backends.common.ofprocess import OfProcess


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
