"""What a foreman and the code of its jobs write into the log, as a person reads it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from treadle import Breaker, InvalidOption, JobFailed, Quit, Retry, Treadle, backoff
from treadle.logs import JobFilter, configure

AT_ONCE = backoff.fixed(0, jitter=False)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield root
    root.handlers[:], root.level = before


def warnings_of(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    fields = [record.__dict__.get("treadle", {}) for record in caplog.records]
    return [one for one in fields if one.get("event") == event]


async def end(app: Treadle, task: Any) -> None:
    async with app.foreman():
        with pytest.raises(JobFailed):
            await (await task.aenqueue()).aresult(timeout=10)


@pytest.mark.parametrize("developing", [False, True])
async def test_the_traceback_of_a_failed_job_is_shown(
    memory_app: Treadle, root: logging.Logger, capsys: pytest.CaptureFixture[str], developing: bool
) -> None:
    @memory_app.task(name="work", retry=Retry(1, backoff=AT_ONCE))
    async def work() -> None:
        raise ValueError("no\nluck")

    configure()
    retries = logging.getLogger("treadle.foreman.retries")
    retries.setLevel(logging.DEBUG if developing else logging.NOTSET)
    try:
        await end(memory_app, work)
    finally:
        retries.setLevel(logging.NOTSET)
    retrying, failed = capsys.readouterr().err.split("job.retrying")[1].split("job.failed")
    assert ('raise ValueError("no' in retrying) is developing
    assert "error='ValueError: no\\nluck'\nTraceback" in failed
    assert '\n      raise ValueError("no\\nluck")\n  ValueError: no\n  luck\n' in failed


async def test_handlers_of_others_show_it_too(
    memory_app: Treadle, caplog: pytest.LogCaptureFixture
) -> None:
    @memory_app.task(name="work")
    async def work() -> None:
        raise ValueError("no luck")

    await end(memory_app, work)
    [line] = [one.getMessage() for one in caplog.records if "job.failed" in one.getMessage()]
    first, *rest = line.splitlines()
    assert first.endswith("error='ValueError: no luck'")
    assert "Traceback" in rest[0]
    assert rest[-1] == "  ValueError: no luck"


@pytest.mark.parametrize("layout", ["console", "json"])
@pytest.mark.parametrize("mode", ["asyncio", "thread"])
async def test_what_a_task_logs_names_its_job(
    memory_app: Treadle,
    root: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    layout: str,
    mode: str,
) -> None:
    log = logging.getLogger("shop")

    def say() -> None:
        log.warning("something of %s", "note")

    async def say_async() -> None:
        say()

    task = memory_app.task(name="work", mode=mode)(say_async if mode == "asyncio" else say)
    configure(layout=layout)
    async with memory_app.foreman():
        job = await task.aenqueue()
        await job.aresult(timeout=10)
    log.warning("outside")
    lines = capsys.readouterr().err.splitlines()
    [said] = [line for line in lines if "something of note" in line]
    [outside] = [line for line in lines if "outside" in line]
    assert job.id not in outside
    if layout == "console":
        assert said.endswith(f"something of note job='{job.id}' task='work' attempt=1")
    else:
        fields = json.loads(said)
        assert fields["event"] == "something of note"
        assert (fields["job"], fields["task"], fields["attempt"]) == (job.id, "work", 1)


async def test_handlers_of_others_learn_the_job_by_a_filter(
    memory_app: Treadle, root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    @memory_app.task(name="work")
    async def work() -> None:
        logging.getLogger("shop").warning("inside")
        logging.getLogger("shop").warning("mine", extra={"job": "own"})

    handler = logging.StreamHandler()
    handler.addFilter(JobFilter())
    handler.setFormatter(logging.Formatter("%(message)s %(job)s %(task)s %(attempt)s"))
    root.handlers[:] = [handler]
    async with memory_app.foreman():
        job = await work.aenqueue()
        await job.aresult(timeout=10)
    logging.getLogger("shop").warning("outside")
    err = capsys.readouterr().err
    assert f"inside {job.id} work 1\n" in err
    assert "mine own work 1\n" in err
    assert "outside - - -\n" in err


async def test_why_a_job_asked_the_foreman_to_stop_is_logged(
    memory_app: Treadle, caplog: pytest.LogCaptureFixture
) -> None:
    @memory_app.task(name="leave")
    async def leave() -> None:
        raise Quit("out of memory")

    async with memory_app.foreman() as foreman:
        job = await leave.aenqueue()
        await foreman.join()
    [quit_] = warnings_of(caplog, "foreman.quit")
    assert quit_["reason"] == f"job {job.id} asked for it: out of memory"


async def test_a_queue_that_nobody_knows_is_warned_of(
    app: Treadle, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None: ...

    task = app.task(name="work", queue="mail")(work)
    await task.options(queue="night.shift").aenqueue()
    queues = ["mial", "mail.acme", "night", "*"]
    async with app.foreman(queues=queues, exclude=["nihgt.shift", "mail"]):
        pass
    warned = warnings_of(caplog, "foreman.queue_unknown")
    assert [one["queue"] for one in warned] == ["mial", "nihgt.shift"]
    assert "did you mean 'mail'?" in warned[0]["hint"]
    assert "did you mean 'night.shift'?" in warned[1]["hint"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"queues": ["a b"]}, "queues='a b' is not a queue name"),
        ({"queues": "a,b c"}, "queues='b c' is not a queue name"),
        ({"queues": [""]}, "queues='' is not a queue name"),
        ({"queues": []}, "must be a list of queues"),
        ({"queues": "a:0"}, "'a:0' has the weight 0"),
        ({"queues": "a:-1"}, "'a:-1' has the weight -1"),
        ({"queues": "a:1.5"}, "'a:1.5' has the weight 1.5"),
        ({"queues": "a:"}, "'a:' has the weight ;"),
        ({"exclude": "x y"}, "exclude='x y' is not a queue name"),
        ({"breaker": 3}, "breaker=3 is not a Breaker, such as Breaker(5"),
        ({"breaker": Breaker}, "is not a Breaker"),
    ],
)
def test_options_that_would_serve_nothing_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        Treadle("memory://").foreman(**options)
    assert says in str(refused.value)
