"""The proxy fails in just the way that was asked for."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from treadle.clock import SystemClock
from treadle.testing import eventually
from treadle.testing.proxy import Proxy, Way


class Echo:
    """A server that says again what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(line,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            while data := line.recv(1000):
                self.heard += data
                line.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as proxy:
        yield proxy


@contextlib.contextmanager
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as line:
        yield line


def said(line: socket.socket, text: bytes) -> bytes:
    line.sendall(text)
    return line.recv(1000)


def ask_once(proxy: Proxy) -> bytes:
    with client(proxy) as line:
        return said(line, b"one")


def read_to_the_end(line: socket.socket) -> None:
    while line.recv(10):
        pass


def test_what_is_well_passes(proxy: Proxy) -> None:
    with client(proxy) as line:
        assert said(line, b"one") == b"one"
        assert proxy.connections == 1
        assert len(proxy.arrivals) == 1


def test_a_cut_resets_what_is_open_and_nothing_else(proxy: Proxy) -> None:
    with client(proxy) as line:
        said(line, b"one")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    with client(proxy) as line:
        assert said(line, b"two") == b"two"


def test_refused(proxy: Proxy) -> None:
    with proxy.refusing(), pytest.raises((ConnectionResetError, BrokenPipeError)):
        ask_once(proxy)
    assert len(proxy.arrivals) == 1
    with client(proxy) as line:
        assert said(line, b"two") == b"two"


@pytest.mark.parametrize("way", list(Way))
async def test_silence_one_way(proxy: Proxy, echo: Echo, way: Way) -> None:
    with client(proxy) as line:
        said(line, b"one")
        line.settimeout(0.2)
        with proxy.silent(way):
            line.sendall(b"two")
            with pytest.raises(TimeoutError):
                line.recv(1)
            assert proxy.connections == 1
            if way is Way.DOWN:
                await eventually(lambda: echo.heard == b"onetwo")
            else:
                assert echo.heard == b"one"


def test_an_answer_is_lost_after_the_request_was_carried_out(proxy: Proxy, echo: Echo) -> None:
    with proxy.losing_replies(b"two"):
        with client(proxy) as line:
            assert said(line, b"one") == b"one"
            line.sendall(b"two")
            with pytest.raises(ConnectionResetError):
                line.recv(1)
        assert echo.heard == b"onetwo"
        assert proxy.lost == 1
        with client(proxy) as line:
            assert said(line, b"two") == b"two"


async def test_cut_after_some_bytes(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as line:
        said(line, b"one")
        with proxy.cutting_after(4):
            line.sendall(b"abcdef")
            with pytest.raises(ConnectionResetError):
                read_to_the_end(line)
    await eventually(lambda: echo.heard == b"oneabcd")


def test_slow(proxy: Proxy) -> None:
    clock = SystemClock()
    with client(proxy) as line, proxy.slow(delay=0.05):
        began = clock.monotonic()
        assert said(line, b"one") == b"one"
        assert clock.monotonic() - began >= 0.1
    with client(proxy) as line, proxy.slow(drip=100):
        assert said(line, b"abc") == b"a"
