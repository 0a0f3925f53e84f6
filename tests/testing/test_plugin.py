"""The pytest plugin, used as the tests of an application use it."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

import treadle

# Runs in this process take the modules with them that they are the first to import.
import treadle.app
import treadle.backends.memory
import treadle.eager
import treadle.foreman

pytest_plugins = ("pytester",)

PLUGIN = "treadle.testing.plugin"
INSTALLED = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
SHOP = """
from __future__ import annotations
from treadle import Context, CONTEXT, Treadle

app = Treadle("sqlite:////nowhere/at/all.db")
sent = []

@app.task(retry=2, queue="mail", priority=5)
def welcome(user: str, times: int = 1) -> str:
    sent.append(user)
    return user

@app.task
async def register(user: str, ctx: Context = CONTEXT) -> None:
    ctx.enqueue(welcome, user)

@app.task(retry=1)
async def fails(ctx: Context = CONTEXT) -> None:
    raise ValueError("no")
"""


@pytest.fixture(autouse=True)
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with an app and its configuration."""
    monkeypatch.setenv("PYTHONPATH", f"{Path(treadle.__file__).parents[1]}:{pytester.path}")
    monkeypatch.delenv("TREADLE_URL", raising=False)
    pytester.syspathinsert()
    pytester.makepyfile(shop=SHOP)
    pytester.makeini(
        """
        [pytest]
        treadle_app = shop:app
        asyncio_mode = auto
        asyncio_default_fixture_loop_scope = function
        filterwarnings = error
        addopts = --strict-markers
        """
    )
    return pytester


def passes(pytester: pytest.Pytester, source: str, number: int = 1) -> None:
    pytester.makepyfile(test_shop=source)
    load = () if INSTALLED else ("-p", PLUGIN)
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", *load)
    result.assert_outcomes(passed=number)


def test_a_plain_test(shop: pytest.Pytester) -> None:
    passes(
        shop,
        """
        import shop
        from treadle.testing import assert_enqueued, drain, refute_enqueued

        def test_registers(treadle_app):
            assert treadle_app is shop.app
            shop.register.enqueue("ada")
            assert_enqueued(shop.register, args=("ada",))
            refute_enqueued(shop.welcome)
            ran = drain(treadle_app)
            assert [(record.spec.task, record.state) for record in ran] == [
                ("shop.register", "succeeded"), ("shop.welcome", "succeeded")
            ]
            assert shop.sent == ["ada"]
            record = assert_enqueued(shop.welcome, kwargs={"user": "ada"}, queue="mail", times=1)
            assert treadle_app.job(record.id).result() == "ada"
            assert_enqueued(shop.welcome, kwargs={"times": 1}, priority=5)
            refute_enqueued(shop.welcome, args=("bob",))

        def test_starts_empty(treadle_app):
            refute_enqueued(shop.register)
            assert drain(treadle_app) == []
        """,
        2,
    )


def test_an_asynchronous_test(shop: pytest.Pytester) -> None:
    passes(
        shop,
        """
        import pytest
        import shop
        from treadle.errors import Blocking
        from treadle.testing import aassert_enqueued, adrain, arefute_enqueued, drain

        async def test_registers(treadle_app):
            await shop.register.aenqueue("ada")
            await shop.welcome.options(queue="other").aenqueue("bob")
            await aassert_enqueued(shop.welcome, queue="other")
            ran = await adrain(treadle_app, "default", "mail")
            assert [record.spec.queue for record in ran] == ["default", "mail"]
            await arefute_enqueued(shop.welcome, args=("bob",), state="succeeded")
            with pytest.raises(Blocking, match="adrain"):
                drain(treadle_app)
        """,
    )


def test_time(shop: pytest.Pytester) -> None:
    passes(
        shop,
        """
        import shop
        from treadle.testing import aadvance, advance, adrain, drain, assert_enqueued

        def test_later(treadle_clock, treadle_app):
            shop.welcome.options(delay="2h").enqueue("ada")
            assert drain(treadle_app) == []
            assert_enqueued(shop.welcome, due=treadle_clock.now() + 7200)
            advance(treadle_clock, "1h59m")
            assert drain(treadle_app) == []
            advance(treadle_clock, "1m")
            assert len(drain(treadle_app)) == 1

        async def test_retries(treadle_app, treadle_clock):
            job = await shop.fails.aenqueue()
            [record] = await adrain(treadle_app)
            assert (record.state, record.tries) == ("scheduled", 1)
            await aadvance(treadle_clock, 3600)
            [record] = await adrain(treadle_app)
            assert (record.state, record.tries) == ("failed", 2)
            assert record.fault.message == "no"

        def test_the_clock_goes_with_the_test(treadle_app):
            assert type(treadle_app.core.clock).__name__ == "SystemClock"
        """,
        3,
    )


def test_messages_show_what_there_is(shop: pytest.Pytester) -> None:
    passes(
        shop,
        """
        import pytest
        import shop
        from treadle import InvalidOption
        from treadle.testing import assert_enqueued, refute_enqueued

        def test_messages(treadle_app):
            shop.welcome.enqueue("ada", 2)
            with pytest.raises(AssertionError) as error:
                assert_enqueued(shop.welcome, args=("bob",), queue="post")
            text = str(error.value)
            assert "shop.welcome(user='bob') with queue='post'; none was enqueued" in text
            assert "shop.welcome(user='ada', times=2) [queued] queue='mail'" in text
            with pytest.raises(AssertionError, match="2 jobs .* 1 were enqueued"):
                assert_enqueued(shop.welcome, times=2)
            with pytest.raises(AssertionError, match="expected no job shop.welcome"):
                refute_enqueued(shop.welcome)
            with pytest.raises(InvalidOption, match="no field 'quue'"):
                assert_enqueued(shop.welcome, quue="mail")
            with pytest.raises(InvalidOption, match="app="):
                assert_enqueued("shop.welcome")
            assert_enqueued("shop.welcome", app=treadle_app)
        """,
    )


def test_the_marker(shop: pytest.Pytester) -> None:
    passes(
        shop,
        """
        import pytest
        import shop

        @pytest.mark.treadle("shop:app", eager=True)
        def test_eager(treadle_app):
            assert shop.welcome.enqueue("ada").result() == "ada"

        @pytest.mark.treadle(url="memory://mine")
        def test_elsewhere(treadle_app):
            assert treadle_app.core.url == "memory://mine"

        def test_restored():
            assert shop.app.core.url == "sqlite:////nowhere/at/all.db"
        """,
        3,
    )


def test_a_source_of_ones_own(shop: pytest.Pytester) -> None:
    passes(
        shop,
        """
        import pytest
        from treadle import Treadle

        @pytest.fixture
        def treadle_source():
            return Treadle("sqlite:////elsewhere.db")

        def test_mine(treadle_app):
            assert treadle_app.tasks == {}
            assert treadle_app.core.url == "memory://"
        """,
    )


def test_who_does_not_say_which_app_is_told_how(shop: pytest.Pytester) -> None:
    shop.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    shop.makepyfile(test_shop="def test_nothing(treadle_app):\n    pass\n")
    load = () if INSTALLED else ("-p", PLUGIN)
    result = shop.runpytest_inprocess("-q", "-p", "no:cacheprovider", *load)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*set treadle_app = 'package.module:app'*"])


def test_nobody_is_affected_who_does_not_ask(shop: pytest.Pytester) -> None:
    shop.makepyfile(
        test_shop="""
        import sys

        def test_nothing_is_loaded():
            assert "treadle.app" not in sys.modules
            assert "treadle.testing.contract" not in sys.modules
        """
    )
    load = () if INSTALLED else ("-p", PLUGIN)
    result = shop.runpytest_subprocess("-q", "-p", "no:cacheprovider", *load)
    result.assert_outcomes(passed=1)


LEDGER = """
import pytest
import shop
from treadle import CONTEXT, Context
from treadle.testing import adrain, drain

paid = []
seen = set()
runs = []

@shop.app.task(name="pay")
def pay(amount: int) -> None:
    paid.append(amount)

@shop.app.task(name="pay_once")
def pay_once(amount: int, ctx: Context = CONTEXT) -> None:
    if ctx.idempotency_key not in seen:
        seen.add(ctx.idempotency_key)
        paid.append(amount)

@shop.app.task(name="order")
async def order(ctx: Context = CONTEXT) -> str:
    await pay_once.aenqueue(3)
    ctx.enqueue(pay_once, 4)
    return "thanks"

@pytest.fixture(autouse=True)
def fresh():
    paid.clear()
    seen.clear()
    runs.append(1)
"""


def crashed(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makepyfile(test_shop=f"{LEDGER}\n{source}")
    load = () if INSTALLED else ("-p", PLUGIN)
    return pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", *load)


def test_a_crash_at_each_step_harms_no_task_that_can_be_repeated(shop: pytest.Pytester) -> None:
    result = crashed(
        shop,
        """
@pytest.mark.treadle(crash="everywhere")
def test_paid_once(treadle_app):
    job = pay_once.enqueue(7)
    drain(treadle_app)
    assert paid == [7]
    assert job.record().state == "succeeded"

@pytest.mark.treadle(crash="everywhere")
async def test_follow_ups(treadle_app, treadle_clock):
    job = await order.aenqueue()
    await adrain(treadle_app)
    assert set(paid) == {3, 4}
    assert paid.count(4) == 1
    assert await job.aresult() == "thanks"

def test_each_step_had_its_run(treadle_app):
    assert len(runs) > 30
""",
    )
    result.assert_outcomes(passed=3)


def test_a_crash_finds_a_task_that_must_not_be_repeated_and_names_the_step(
    shop: pytest.Pytester,
) -> None:
    result = crashed(
        shop,
        """
@pytest.mark.treadle(crash="everywhere")
def test_paid_once(treadle_app):
    pay.enqueue(7)
    drain(treadle_app)
    assert paid == [7]
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*when the foreman was killed at run.after_handler*"])


def test_a_test_that_fails_without_a_crash_is_not_tried_further(shop: pytest.Pytester) -> None:
    result = crashed(
        shop,
        """
@pytest.mark.treadle(crash="everywhere")
def test_wrong(treadle_app):
    pay.enqueue(7)
    drain(treadle_app)
    assert paid == [8]

def test_one_run(treadle_app):
    assert len(runs) == 2
""",
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.no_fnmatch_line("*was killed*")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("crash='everywhere'", "*found no step*"),
        ("crash='sometimes'", "*it is 'everywhere'*"),
        ("crash='everywhere', eager=True", "*not with eager=True*"),
    ],
)
def test_a_crash_that_cannot_be_is_refused(shop: pytest.Pytester, options: str, says: str) -> None:
    result = crashed(
        shop, f"@pytest.mark.treadle({options})\ndef test_nothing(treadle_app):\n    pass\n"
    )
    assert result.ret != 0
    result.stdout.fnmatch_lines([says])
