"""The options of workers and pools: read where they are given, refused where they cannot work."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tests.pools.gates import note, notes
from treadle import Foreman, InvalidCall, InvalidOption, Pool, Retry, Timeout, UnknownOption, Worker
from treadle.pools.options import OPTIONS, Mode, PoolOptions, read_pool_options


class Plain(Worker):
    def one(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"max_worker": 2}, "max_workers"),
        ({"num_workers": 2}, "max_workers"),
        ({"load_balancing": "random"}, "balancing"),
        ({"num_retries": 2}, "retry"),
        ({"processes": 2}, "max_workers"),
        ({"n_jobs": 2}, "max_workers"),
        ({"max_tasks_per_child": 9}, "max_calls"),
        ({"max_queue_size": 9}, "max_queued_tasks"),
        ({"thread_name_prefix": "x"}, "name"),
        ({"environment": {}}, "env"),
        ({"on_demnad": True}, "on_demand"),
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_the_nearest(
    given: dict[str, Any], hint: str
) -> None:
    with pytest.raises(UnknownOption, match=f"did you mean '{hint}'") as raised:
        Plain.options(**given)
    assert raised.value.known == OPTIONS
    with pytest.raises(UnknownOption, match=hint):
        Pool("thread", **given)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("num_cpus", "ray={'num_cpus': …}"),
        ("num_gpus", "ray={'num_gpus': …}"),
        ("initializer", "start() of a Worker"),
        ("initargs", "init(…)"),
        ("mp_context", "nothing to choose"),
        ("max_concurrency", "slots="),
        ("rpm", "limits=[Rate(60, per='1m')]"),
        ("chunksize", "pool.map(f, items, chunk=…)"),
    ],
)
def test_what_is_said_otherwise_here_is_explained(word: str, hint: str) -> None:
    given: dict[str, Any] = {word: 1}
    with pytest.raises(UnknownOption, match=re.escape(hint)) as raised:
        Plain.options(**given)
    assert raised.value.option == word
    with pytest.raises(UnknownOption, match=re.escape(hint)):
        Pool("thread", **given)
    with pytest.raises(UnknownOption, match=re.escape(hint)):
        Foreman(Plain, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "threads"}, "did you mean 'thread'"),
        ({"mode": None}, "one of sync, thread"),
        ({"max_workers": -1}, "max_workers=-1"),
        ({"max_workers": "4"}, "max_workers='4'"),
        ({"max_workers": True}, "max_workers=True"),
        ({"max_workers": 0}, "on_demand=True"),
        ({"mode": "sync", "max_workers": 2}, "mode 'sync'"),
        ({"mode": "asyncio", "on_demand": True}, "on_demand=True"),
        ({"balancing": "least-active"}, "least_active"),
        ({"on_demand": "yes"}, "True or False"),
        ({"blocking": 2}, "True or False"),
        ({"max_queued_tasks": 0}, "from 1 on or None"),
        ({"on_full": "block"}, "one of wait, queue, raise"),
        ({"retry": -1}, "further attempts"),
        ({"retry": {"add": "often"}}, "further attempts"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"patience": -1}, "patience"),
        ({"restart_every": 0}, "restart_every"),
        ({"probe_every": 0}, "probe_every"),
        ({"name": "two\nlines"}, "name"),
        ({"on_demand": True, "max_queued_tasks": 3}, "max_queued_tasks=3"),
    ],
)
def test_a_value_that_cannot_work_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        Plain.options(**given)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"blocking": "true"}, {"blocking": True}),
        ({"blocking": "False"}, {"blocking": False}),
        ({"unwrap_futures": "0"}, {"unwrap_futures": False}),
        ({"on_demand": "1"}, {"on_demand": True}),
        ({"timeout": "1m"}, {"timeout": Timeout(60)}),
        ({"timeout": timedelta(seconds=2)}, {"timeout": Timeout(2)}),
        ({"patience": "500ms"}, {"patience": 0.5}),
        ({"retry": 3}, {"retry": {"*": Retry(3)}}),
        ({"retry": {"add": 2, "*": Retry(1)}}, {"retry": {"add": Retry(2), "*": Retry(1)}}),
        ({"probe_every": "10s"}, {"probe_every": 10.0}),
    ],
)
def test_what_is_exact_in_other_words_is_understood(
    given: dict[str, Any], read: dict[str, Any]
) -> None:
    options = read_pool_options(given)
    assert {name: getattr(options, name) for name in read} == read


def test_a_builder_is_never_changed() -> None:
    first = Plain.options(mode="thread", max_workers=2)
    second = first.options(max_workers=3)
    assert (first.pool_options.max_workers, second.pool_options.max_workers) == (2, 3)
    assert second.pool_options.mode == "thread"


# --------------------------------------------------------------------- of a class


class Two(Worker, mode="thread", max_workers=2, retry={"flaky": 1}):
    def number(self) -> int:
        return self.index


class Three(Two, max_workers=3):
    pass


def test_a_class_can_have_options() -> None:
    with Two.init() as two:
        assert [two.number().result() for _ in range(3)] == [0, 1, 0]


def test_a_subclass_has_them_unless_it_says_otherwise() -> None:
    with Three.init() as three:
        assert [three.number().result() for _ in range(4)] == [0, 1, 2, 0]
    assert Three._worker_options.retry == Two._worker_options.retry
    assert Worker._worker_options == PoolOptions()


def test_what_is_given_to_a_handle_counts_more() -> None:
    with Two.options(mode="sync", max_workers=1).init() as two:
        assert [two.number().result() for _ in range(2)] == [0, 0]


def test_the_options_of_a_class_are_checked_when_it_is_made() -> None:
    with pytest.raises(UnknownOption, match="did you mean 'max_workers'"):
        type("Wrong", (Worker,), {}, max_worker=2)
    with pytest.raises(InvalidOption, match="mode='fast'"):
        type("Wrong", (Worker,), {}, mode="fast")


class Labelled:
    label = ""

    def __init_subclass__(cls, label: str = "", **others: Any) -> None:
        super().__init_subclass__(**others)
        cls.label = label


class Both(Worker, Labelled, max_workers=2, label="both"):  # type: ignore[call-arg]
    pass


def test_other_bases_have_keywords_of_their_own() -> None:
    assert Both.label == "both"
    assert Both._worker_options.max_workers == 2


@pytest.mark.parametrize("name", ["call", "stats", "resize", "arestart", "keyed"])
def test_a_method_that_nobody_could_call_is_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"Wrong.{name} has the name of a method of its handle"):
        type("Wrong", (Worker,), {name: lambda self: None})


@pytest.mark.parametrize("name", ["index", "limits"])
def test_a_method_with_the_name_of_what_a_worker_is_given_is_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"Wrong.{name} has the name of what each worker is"):
        type("Wrong", (Worker,), {name: lambda self: None})


def test_a_key_says_nothing_to_another_balancing() -> None:
    with (
        Plain.options(mode="sync").init() as plain,
        pytest.raises(InvalidOption, match=r"'round_robin' .* Plain.options\(balancing='sticky'\)"),
    ):
        plain.keyed("a")
    with pytest.raises(InvalidOption, match=r"a pool of functions has no state .* keyed\(key\)"):
        Pool("thread", balancing="sticky")


def test_what_is_to_be_called_is_named_by_its_class() -> None:
    with Plain.options(mode="sync").init() as plain:
        method: Any = plain.one
        with pytest.raises(InvalidCall, match=r"one of the handle .* Plain\.one"):
            plain.map(method, [1])
        with pytest.raises(InvalidCall, match=r"'one' cannot be called; .* Plain\.one"):
            plain.call(cast("Any", "one"))
        with pytest.raises(InvalidCall, match=r"7 cannot be called"):
            plain.starmap(cast("Any", 7), [])


# --------------------------------------------------------------------- retries by method


class Flaky(Worker):
    def __init__(self, file: Path) -> None:
        self.file = file

    def fetch(self) -> str:
        note(self.file, "fetch")
        raise OSError("away")

    def parse(self) -> str:
        note(self.file, "parse")
        raise OSError("wrong")

    def store(self) -> str:
        note(self.file, "store")
        raise ValueError("full")


def test_each_method_can_have_a_retry_of_its_own(mode: Mode, tmp_path: Path) -> None:
    file = tmp_path / "attempts"
    retry: dict[str, int | Retry] = {
        "fetch": Retry(3, backoff=0),
        "parse": 0,
        "*": Retry(2, on=OSError, backoff=0),
    }
    with Flaky.options(mode=mode, retry=retry).init(file) as flaky:
        for call in (flaky.fetch(), flaky.parse(), flaky.store()):
            assert call.exception(10) is not None
    lines = notes(file)
    assert [lines.count(name) for name in ("fetch", "parse", "store")] == [4, 1, 1]


def test_without_a_retry_there_is_one_attempt(mode: Mode, tmp_path: Path) -> None:
    file = tmp_path / "attempts"
    with Flaky.options(mode=mode).init(file) as flaky:
        flaky.fetch().exception(10)
    assert notes(file) == ["fetch"]


# --------------------------------------------------------------------- what is configured


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "treadle.toml"


def _options(handle: Any) -> PoolOptions:
    with handle:
        options: PoolOptions = handle._crew.options
        return options


def test_what_nobody_gives_is_as_it_is_configured(configured: Path) -> None:
    configured.write_text('[workers]\nmode = "sync"\nretry = 2\ntimeout = "1m"\n')
    options = _options(Plain.init())
    assert (options.mode, options.retry_of("one"), options.timeout) == (
        "sync", Retry(2), Timeout(60),
    )  # fmt: skip


def test_what_is_configured_for_a_mode_counts_more(configured: Path) -> None:
    configured.write_text(
        "[workers]\npatience = 1\nretry = 1\n\n[workers.thread]\npatience = 2\nmax_workers = 3\n"
    )
    options = _options(Plain.init())
    assert (options.patience, options.max_workers, options.retry_of("one")) == (2, 3, Retry(1))
    assert _options(Plain.options(mode="asyncio").init()).patience == 1
    assert _options(Pool("thread")).max_workers == 3


def test_what_is_given_counts_more_than_what_is_configured(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured.write_text("[workers.thread]\nmax_workers = 3\n")
    monkeypatch.setenv("TREADLE_WORKERS__THREAD__RETRY", "5")
    options = _options(Two.init())
    assert (options.max_workers, options.retry_of("number")) == (2, None)
    assert _options(Plain.options(retry=1).init()).retry_of("one") == Retry(1)
    assert _options(Plain.init()).retry_of("one") == Retry(5)


def test_what_is_configured_later_does_not_reach_a_pool(configured: Path) -> None:
    configured.write_text("[workers.thread]\nmax_workers = 2\n")
    builder = Plain.options(mode="thread")
    with builder.init() as first:
        configured.write_text("[workers.thread]\nmax_workers = 4\n")
        assert len(first.stats.workers) == 2
        with builder.init() as second:
            assert len(second.stats.workers) == 4


def test_what_is_configured_wrongly_is_refused_where_it_stands(configured: Path) -> None:
    configured.write_text("[workers.thread]\nmax_worker = 2\n")
    with pytest.raises(UnknownOption, match=r"workers\.thread\.max_workers"):
        Plain.init()
