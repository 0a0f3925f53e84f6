"""Any text of a person, a file or the environment is read, or refused as documented, and soon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.security.fuzz import fuzzed, hostile_text, mutations, tried
from treadle import Treadle
from treadle.backends.common.url import Url
from treadle.backends.sqlite.address import parse
from treadle.cli.filters import Filter
from treadle.cli.words import arguments
from treadle.config import resolve
from treadle.durations import seconds
from treadle.errors import InvalidCall, InvalidOption, NotEncodable, UnknownOption, Unsupported
from treadle.failpoints import NAMES, active
from treadle.task import Task

app = Treadle("memory://")

REFUSED = (InvalidOption, UnknownOption)
URLS = [
    "sqlite:///jobs.db?durability=normal", "sqlite:////var/lib/jobs.db?patience=5&max_failed=3",
    "memory://name", "redis://user:p%40ss@[::1]:6379/0?db=1", "postgresql://h:5432/db?a=b#c",
]  # fmt: skip
FILES = [
    b'url = "sqlite:///jobs.db"\n[foreman]\nconcurrency = 5\nqueues = ["a", "b:2"]\n',
    b'namespace = "x"\nmax_payload = "1MiB"\n[log]\nlevel = "debug"\n',
    b'[foreman]\nlease = "30s"\nmax_jobs = "none"\n[tool.treadle]\nurl = 5\n',
]
SETTINGS = [
    "URL", "NAMESPACE", "MAX_PAYLOAD", "REQUEST_TTL", "FOREMAN__CONCURRENCY", "FOREMAN__QUEUES",
    "FOREMAN__MAX_RSS", "FOREMAN__LEASE", "LOG__LEVEL", "APP", "FOREMAN", "X",
]  # fmt: skip


@app.task(name="fuzzed")
async def task(a: int, b: list[str] | None = None, c: float = 1.0) -> None: ...


def lenient(text: bytes) -> str:
    return text.decode("utf-8", "replace")


urls = st.one_of(hostile_text, mutations([one.encode() for one in URLS]).map(lenient))


@fuzzed
@example("a://@:secret@host")
@example("sqlite:0\0")
@example("a:// :secret@[::]")
@given(urls)
def test_a_url(text: str) -> None:
    url = tried(lambda: Url(text), InvalidOption)
    if url is not None:
        assert not url.password or f":{url.password}@" not in str(url)
    tried(lambda: parse(text), *REFUSED)


@fuzzed
@given(st.one_of(mutations(FILES), st.binary(max_size=100)))
def test_a_file_of_settings(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "treadle.toml").write_bytes(body)
    tried(lambda: resolve({}, {}, tmp_path), *REFUSED)


@fuzzed
@given(st.dictionaries(st.one_of(st.sampled_from(SETTINGS), st.text(max_size=9)), hostile_text))
def test_the_environment(tmp_path: Path, given_: dict[str, str]) -> None:
    environment = {f"TREADLE_{name}": value for name, value in given_.items()}
    (tmp_path / "treadle.toml").write_bytes(b"")
    tried(lambda: resolve({}, environment, tmp_path), *REFUSED)


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), hostile_text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES_OF_SETTINGS = ["url", "namespace", "foreman", "log", "max_payload", "request_ttl", "app", "x"]


@fuzzed
@given(st.dictionaries(st.sampled_from(NAMES_OF_SETTINGS), junk))
def test_arguments_as_settings(tmp_path: Path, arguments_: dict[str, Any]) -> None:
    (tmp_path / "treadle.toml").write_bytes(b"")
    tried(lambda: resolve(arguments_, {}, tmp_path), *REFUSED)


OPTIONS = [
    "queue", "priority", "retry", "timeout", "expires", "delay", "run_at", "key", "unique",
    "limits", "keep", "tags", "meta", "id", "flow", "after", "max_crashes", "bound", "wrong",
]  # fmt: skip


@fuzzed
@given(st.dictionaries(st.sampled_from(OPTIONS), junk, min_size=1, max_size=3))
def test_options_of_a_task(options: dict[str, Any]) -> None:
    tried(lambda: task.options(**options), InvalidOption, UnknownOption, Unsupported, InvalidCall)


@fuzzed
@given(st.one_of(junk, st.from_regex(r"[0-9wdhms. ]{1,12}", fullmatch=True)))
def test_a_duration(value: Any) -> None:
    found = tried(lambda: seconds(value, "delay"), InvalidOption)
    assert found is None or 0 <= found < float("inf")


@fuzzed
@given(st.sampled_from([*NAMES[:2], "wrong"]), hostile_text)
def test_a_rule_of_a_failpoint(name: str, text: str) -> None:
    def arm() -> None:
        with active({name: text}):
            pass

    tried(arm, *REFUSED)


lists = st.one_of(st.none(), st.lists(hostile_text, max_size=3))
maybe = st.one_of(st.none(), hostile_text)


@fuzzed
@given(st.builds(Filter, ids=lists, state=lists, task=maybe, queue=maybe, older_than=maybe,
                 newer_than=maybe, tag=lists, key=maybe, error=maybe))  # fmt: skip
def test_filters_of_a_command(wanted: Filter) -> None:
    tried(lambda: wanted.query(1_800_000_000.0), InvalidOption)


CONDITIONS = [
    "ids", "queue", "state", "task", "tags", "unique", "key", "flow", "since", "until", "error",
    "oldest_first", "limit", "cursor", "counts", "wrong",
]  # fmt: skip


@fuzzed
@given(st.dictionaries(st.sampled_from(CONDITIONS), junk, min_size=1, max_size=3))
def test_conditions_on_jobs(conditions: dict[str, Any]) -> None:
    with Treadle("memory://") as fresh:
        tried(lambda: fresh.jobs(**conditions), InvalidOption, UnknownOption)


@fuzzed
@given(st.lists(st.one_of(hostile_text, hostile_text.map("b=".__add__)), max_size=4), maybe)
def test_words_of_a_command(words: list[str], kwargs: str | None) -> None:
    wanted: Task[Any, Any] = task
    tried(lambda: arguments(wanted, words, kwargs), InvalidOption, InvalidCall, NotEncodable)


def test_a_long_list_of_words_is_read_at_once() -> None:
    words = [str(number) for number in range(3)] + ["c=1.5"]
    with pytest.raises(InvalidCall):
        arguments(task, words, None)
    deep = "[" * 100_000
    tried(lambda: arguments(task, ["1", f"b={deep}"], None), InvalidCall, NotEncodable)
    tried(lambda: arguments(task, ["1"], deep), InvalidOption)
