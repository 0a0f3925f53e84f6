"""RabbitMQ over TLS: a server that shows who it is, and what is said of one that is not known."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import own, rabbitmq_url
from treadle import Treadle
from treadle.backends.rabbitmq import connect
from treadle.errors import BackendUnavailable
from treadle.testing.servers import RabbitServer, make_certificates

__all__ = ["rabbitmq_url"]

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    made = RabbitServer(tls=True)
    made.start_seconds = 300.0
    with own(made.start) as server:
        yield server


def authority(server: RabbitServer) -> Path:
    assert server.certificates is not None
    return server.certificates.authority


async def refusal(url: str) -> str:
    """What is said of a store when it is opened."""
    backend = connect(url)
    with pytest.raises(BackendUnavailable) as caught:
        await backend.open()
    await backend.aclose()
    backend.close()
    return str(caught.value)


async def test_a_server_that_is_known(server: RabbitServer) -> None:
    ran = asyncio.Event()
    async with Treadle(f"{server.url}?cafile={authority(server)}") as app:

        @app.task(name="work")
        async def work() -> None:
            ran.set()

        async with app.foreman(), asyncio.timeout(60):
            await work.aenqueue()
            await ran.wait()


async def test_a_server_of_an_authority_that_is_not_trusted(
    server: RabbitServer, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path).authority
    for options in (f"cafile={other}", "patience=10"):
        said = await refusal(f"{server.url}?{options}")
        assert "shows a certificate that is not trusted" in said
        assert "?cafile=… names the file of the authority to trust" in said


async def test_unchecked(server: RabbitServer) -> None:
    backend = connect(f"{server.url}?no_verify_ssl=1")
    await backend.open()
    await backend.aclose()
    backend.close()


async def test_no_tls_where_there_is(server: RabbitServer) -> None:
    said = await refusal(f"{server.url.replace('amqps:', 'amqp:')}?patience=3")
    assert "write amqps://" in said


async def test_tls_where_there_is_none(rabbitmq_url: str) -> None:
    said = await refusal(f"{rabbitmq_url.replace('amqp:', 'amqps:')}?patience=3")
    assert "does not speak TLS" in said


# The driver has a logger of its own, which writes to standard error where nobody set up logging.
_LOUD = """\
import asyncio
from treadle.backends.rabbitmq import connect


async def main() -> None:
    backend = connect({url!r})
    try:
        await backend.open()
    except Exception as error:
        print(type(error).__name__)
    await backend.aclose()
    backend.close()

asyncio.run(main())
"""


async def test_the_driver_says_nothing_besides(server: RabbitServer) -> None:
    url = f"{server.url.replace('amqps:', 'amqp:')}?patience=3"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _LOUD.format(url=url)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await process.communicate()
    assert (said, errors) == (b"BackendUnavailable\n", b"")
