"""Options of tasks: what they take, and what is refused with which words."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from treadle.app import Treadle
from treadle.errors import InvalidOption, UnknownOption, Unsupported
from treadle.policies.retry import Retry
from treadle.records import Keep, Scope, StoredRetry, Unique


def plain(a: int, b: int = 2) -> int:
    return a + b


async def later(a: int) -> int:
    return a


def make() -> Treadle:
    return Treadle("memory://")


class TestOptions:
    def test_an_unknown_option_is_refused_with_the_nearest_and_the_known(self) -> None:
        with pytest.raises(UnknownOption) as caught:
            make().task(retires=3)(plain)  # type: ignore[call-overload]
        assert "task 'plain' has no option 'retires' (did you mean 'retry'?)" in str(caught.value)
        assert "Known options: name, queue, priority, retry" in str(caught.value)
        assert caught.value.option == "retires"
        assert "retry" in caught.value.known

    def test_so_is_one_for_a_call(self) -> None:
        with pytest.raises(UnknownOption, match="did you mean 'priority'"):
            make().task(plain).options(prority=3)  # type: ignore[call-arg]

    def test_an_option_in_the_wrong_place_says_the_right_one(self) -> None:
        app = make()
        with pytest.raises(UnknownOption, match=r"for one call: task\.options"):
            app.task(id="x")(plain)  # type: ignore[call-overload]
        with pytest.raises(UnknownOption, match="where it is declared"):
            app.task(plain).options(mode="thread")  # type: ignore[call-arg]

    def test_the_defaults(self) -> None:
        options = make().task(plain).options
        assert options.queue == "default"
        assert options.retry.max == 0
        assert options.timeout == 1800
        assert options.expires is None
        assert options.keep == Keep(succeeded=3600, failed=7 * 86400, cancelled=86400)
        assert options.max_crashes == 3

    def test_a_copy_has_other_options_and_the_task_keeps_its_own(self) -> None:
        made = make().task(priority=1, tags=["a"])(plain)
        copy = made.options(priority=5, delay="5m", tags="b", timeout=None)
        assert (made.options.priority, copy.options.priority) == (1, 5)
        assert copy.options.tags == ("a", "b")
        assert copy.options.timeout is None
        assert copy(1) == 3
        again = copy.options(queue="mail")
        assert (again.options.queue, again.options.priority) == ("mail", 5)

    def test_durations_come_in_three_ways(self) -> None:
        app = make()
        for value in (90, timedelta(seconds=90), "1m30s"):
            made = app.task(timeout=value, name="same")(plain)
            assert made.options.timeout == 90

    def test_the_shortcuts_of_keep(self) -> None:
        app = make()

        def keep(**options: Any) -> Keep:
            return app.task(name="same", **options)(plain).options.keep

        assert keep(keep="1h") == Keep(succeeded=3600, failed=3600, cancelled=3600)
        assert keep(keep=None).failed is None
        assert keep(keep={"failed": 5}) == Keep(failed=5)
        assert keep(keep=Keep(failed="1h")) == Keep(failed=3600)  # type: ignore[arg-type]
        with pytest.raises(InvalidOption, match=r"keep\['failed'\]: -1 is negative"):
            keep(keep=Keep(failed=-1))
        assert keep(result_ttl=7) == Keep(succeeded=7)
        assert keep(keep={"failed": 5}, result_ttl=7) == Keep(succeeded=7, failed=5)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"queue": "a..b"}, "is not a queue name"),
            ({"queue": 3}, "is not the name of a queue"),
            ({"priority": 101}, "from -100 to 100"),
            ({"priority": True}, "from -100 to 100"),
            ({"retry": -1}, "retry: -1 is not"),
            ({"retry": "3"}, "a number of further attempts"),
            ({"timeout": 0}, "above 0"),
            ({"timeout": "soon"}, "is not a duration"),
            ({"expires": 0}, "could never start"),
            ({"expires": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
            ({"key": "user:{usr}"}, "no parameter 'usr'"),
            ({"key": True}, "name the parameters"),
            ({"key": "a", "key_slots": 0}, "from 1"),
            ({"key_slots": 2}, "key_slots= needs key="),
            ({"ordered": True}, "ordered= needs key="),
            ({"unique": ["c"]}, "no parameter 'c'"),
            ({"unique": {"scope": "until_dawn"}}, "one of 'until_started'"),
            ({"unique": {"scope": "for"}}, "go together"),
            ({"unique": {"by": "x", "til": 3}}, "by, scope, ttl, on_conflict"),
            ({"unique": lambda c: "x"}, "no parameter 'c'"),
            ({"limits": [3]}, "a Rate or Slots"),
            ({"keep": {"done": 3}}, "succeeded, failed, cancelled"),
            ({"tags": [""]}, "1 to 128 characters"),
            ({"meta": {1: 2}}, "texts as keys"),
            ({"meta": {"a": object()}}, "is not JSON"),
            ({"max_crashes": 0}, "from 1"),
            ({"bound": 0}, "from 1"),
            ({"bound": 1 << 31}, "from 1 to 2147483647"),
            ({"key": "a", "key_slots": 10**20}, "from 1 to 2147483647"),
            ({"retry": 10**20}, "up to 9223372036854775807"),
            ({"delay": 1e18}, "longer than a hundred years"),
            ({"meta": {"a": 10**20}}, "metadata 'a' is not JSON"),
            ({"on_full": "drop"}, "'error' or 'wait'"),
            ({"on_full": "wait"}, "needs bound="),
            ({"delivery": "exactly_once"}, "at_least_once"),
            ({"delivery": "at_most_once", "retry": 1}, "exclude each other"),
            ({"mode": "fiber"}, "'asyncio', 'thread', 'process' or 'ray'"),
            ({"ray": {"num_cpus": 1}}, "give that mode, too"),
            ({"mode": "ray", "ray": {"num_cpus": -1}}, "a number from 0 on"),
            ({"errors": [3]}, "an exception class"),
        ],
    )
    def test_a_value_that_cannot_work_is_refused_where_it_is_given(
        self, options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(InvalidOption, match=words):
            make().task(name="t", **options)(plain)

    def test_a_mode_that_jobs_do_not_have_is_refused(self) -> None:
        mode: Any = "sync"
        with pytest.raises(Unsupported, match=mode) as caught:
            make().task(mode=mode)(plain)
        assert caught.value.feature == f"mode='{mode}'"

    def test_what_a_task_needs_of_a_cluster_is_read(self) -> None:
        made = make().task(ray={"num_cpus": 2, "resources": {"disk": 1}}, mode="ray")(plain)
        assert made.options.ray.amounts == {"CPU": 2, "disk": 1}

    def test_a_coroutine_does_not_run_in_a_thread(self) -> None:
        with pytest.raises(InvalidOption, match="'async def' and cannot run in mode='thread'"):
            make().task(mode="thread")(later)

    def test_a_call_has_one_start(self) -> None:
        made = make().task(plain)
        at = datetime(2030, 1, 1).astimezone()
        with pytest.raises(InvalidOption, match="delay= and run_at= both"):
            made.options(delay=3, run_at=at)

    def test_a_call_that_could_never_start_is_refused(self) -> None:
        made = make().task(expires="1m")(plain)
        assert made.options(delay=30).options.expires is not None
        with pytest.raises(InvalidOption, match="would expire before"):
            made.options(delay="1h")

    def test_a_number_for_a_call_leaves_the_rest_of_the_retry(self) -> None:
        made = make().task(retry=Retry(3, on=OSError))(plain).options(retry=5).options
        assert (made.call_retries, made.call_retry) == (5, None)

    def test_a_retry_for_a_call_is_kept_as_data(self) -> None:
        made = make().task(retry=3)(plain).options(retry=Retry(5, on=OSError, backoff=2)).options
        rule = StoredRetry(on=("OSError",), backoff="fixed", pauses={"pause": 2, "jitter": 0})
        assert (made.call_retries, made.call_retry) == (5, rule)
        assert make().task(plain).options(retry=Retry(None)).options.call_retries == -1

    def test_a_retry_for_a_call_that_holds_code_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match="cannot be stored in a job"):
            make().task(plain).options(retry=Retry(5, until=bool))

    def test_at_most_once_refuses_retries_of_a_call_too(self) -> None:
        made = make().task(delivery="at_most_once")(plain)
        with pytest.raises(InvalidOption, match="exclude each other"):
            made.options(retry=1)

    def test_metadata_is_copied(self) -> None:
        given = {"a": [1]}
        made = make().task(meta=given)(plain)
        given["a"].append(2)
        assert made.options.meta == {"a": [1]}

    def test_a_unique_rule_may_be_the_record(self) -> None:
        rule = Unique(key="only:{a}", scope=Scope.FOR, ttl=60)
        options = make().task(unique=rule)(plain).options
        assert options.unique is not None
        assert options.unique.of({"a": 1, "b": 2}) == Unique(key="only:1", scope=Scope.FOR, ttl=60)
