"""Four logged-in sessions read a site that wants no more than so many requests, and says so.

The site is a real one, started by this program: it hands out sessions, forgets each after a
while, fails now and then, and answers 429 for a moment when it is asked too often. The workers
keep their session between pages; what they meet is answered by what a job raises.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from treadle import Breaker, Foreman, JobState, Rate, Retry, RetryLater, Trip, Worker, backoff

PAGES = 120


class Site(BaseHTTPRequestHandler):
    """A site with sessions of 25 pages each, and little patience."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    numbers = itertools.count()
    sessions: ClassVar[dict[str, int]] = {}
    recent: ClassVar[list[float]] = []
    closed_until = 0.0
    refused = 0
    lock = threading.Lock()

    def do_GET(self) -> None:
        with self.lock:
            status, text = self.login() if self.path == "/login" else self.page()
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def login(self) -> tuple[int, str]:
        session = f"session-{next(self.numbers)}"
        self.sessions[session] = 25
        return 200, session

    def page(self) -> tuple[int, str]:
        now = time.monotonic()
        site = type(self)
        if now < site.closed_until:
            site.refused += 1
            return 429, "not now"
        site.recent = [moment for moment in site.recent if moment > now - 0.2] + [now]
        if len(site.recent) > 30:
            site.closed_until, site.recent = now + 0.5, []
            return 429, "too many requests"
        session = self.headers["Cookie"]
        if self.sessions.get(session, 0) == 0:
            return 401, "who are you?"
        self.sessions[session] -= 1
        if next(self.numbers) % 17 == 0:
            return 503, "try again"
        return 200, f"contents of {self.path}"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing of each request."""


class SessionExpired(RetryLater):
    """Another attempt at once, with a worker that has logged in anew."""

    def __init__(self) -> None:
        super().__init__("session expired", delay=0, restart_worker=True)


class Reader(Worker):
    """A connection and a session."""

    logins = itertools.count(1)

    def __init__(self, port: int) -> None:
        self.port = port

    def start(self) -> None:
        next(self.logins)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        self.session = self.get("/login")[1]

    def stop(self) -> None:
        self.connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        self.connection.request("GET", path, headers=headers)
        response = self.connection.getresponse()
        return response.status, response.read().decode()


def read(reader: Reader, path: str) -> str:
    """One page."""
    status, text = reader.get(path, Cookie=reader.session)
    match status:
        case 401:
            raise SessionExpired
        case 429:
            raise Trip("the site has had enough")
        case 503:
            raise RetryLater("the site stumbled")
    return text


async def main() -> None:
    """Read all pages."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    foreman = Foreman(
        Reader.options().bind(server.server_port),
        max_workers=4,
        backlog=50,
        retry=Retry(5, backoff=backoff.fixed(0.05)),
        # The burst is more than the site likes, and it closes for a moment.
        limits=[Rate(40, per="1s", burst=60)],
        breaker=Breaker(5, pause=0.6),
    )
    try:
        async with foreman:
            jobs = [await foreman.enqueue(read, f"/page/{n}") for n in range(PAGES)]
        for number, job in enumerate(jobs):
            assert await job.aresult() == f"contents of /page/{number}"
    finally:
        server.shutdown()
        server.server_close()
    failed = await foreman.jobs(state=JobState.FAILED)
    assert not failed.records
    stats = foreman.stats
    print(f"{stats['job.succeeded']} pages, {next(Reader.logins) - 1} logins")
    print(
        f"{stats['job.retrying']} retries, {stats['job.released']} jobs given back by the breaker"
    )
    print(f"{Site.refused} requests while the site was closed")


if __name__ == "__main__":
    asyncio.run(main())
