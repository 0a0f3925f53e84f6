"""Names from outside: refused where they enter, told apart, and never taken for something else."""

from __future__ import annotations

import re
import sqlite3
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import JobState, Treadle
from treadle.backends import open as open_backend
from treadle.backends.sqlite.statements import load, prefix_of, schema
from treadle.clock import SystemClock
from treadle.config import load as load_settings
from treadle.errors import InvalidOption
from treadle.ids import SystemIds
from treadle.keys import key_rule
from treadle.naming import task_name
from treadle.ports import QUEUE_CELL, Query
from treadle.queuenames import check_queue

UNSEEN = [
    "a\nb", "a\rb", "a\0b", "a\x1b[31mb", "a\x1b]8;;http://x\x07b", "a\u202eb", "a\u2028b",
    "a\u200bb", "a\x7fb", "a\x85b", "\ud800", "\ufeffa",
]  # fmt: skip
STRANGE = [
    "", " ", "a b", "a{}b", "{0.__class__}", "a*b", "..", "a..b", ".a", "a.", "../../etc/passwd",
    "a/b", "a\\b", "a'b", 'a"b', "a;b", "';--", "$1", "a?b", "a[b", "mаil", "ｍail", "größe",
    "a" * 129, "{ns.0}:x",
]  # fmt: skip


async def nothing(value: str = "") -> None: ...


@pytest.mark.parametrize("name", [*UNSEEN, *STRANGE])
def test_a_queue_has_a_plain_name(name: str) -> None:
    with pytest.raises(InvalidOption, match="is not a queue name"):
        check_queue(name)
    with pytest.raises(InvalidOption):
        Treadle("memory://").task(name="t", queue=name)(nothing)


@given(st.text())
def test_any_text_is_a_queue_of_plain_characters_or_refused(name: str) -> None:
    try:
        check_queue(name)
    except InvalidOption:
        return
    assert re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", name)
    assert name.encode().decode("ascii")


@pytest.mark.parametrize("scheme", ["memory://", "sqlite:///x.db"])
@pytest.mark.parametrize("name", [*UNSEEN, "", "a b", "a*", "a/b", "'", '"', "a\n", "é", "a" * 65])
def test_a_namespace_has_a_plain_name(
    name: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidOption, match="namespace"):
        load_settings(namespace=name or "\n")
    if scheme.startswith("sqlite"):
        with pytest.raises(InvalidOption, match="namespace"):
            open_backend(scheme, clock=SystemClock(), ids=SystemIds(), namespace=name)


@pytest.mark.parametrize("name", [*UNSEEN, "", " a", "a*", "a?", "a[b]", "a" * 256])
def test_what_cannot_be_seen_or_selects_many_names_no_task(name: str) -> None:
    with pytest.raises(InvalidOption, match="is not the name of a task"):
        task_name(nothing, name)


@pytest.mark.parametrize("option", ["id", "flow", "tags"])
@pytest.mark.parametrize("value", [*UNSEEN, "", "a" * 129])
def test_ids_flows_and_tags_can_be_seen(option: str, value: str) -> None:
    task = Treadle("memory://").task(name="t")(nothing)
    with pytest.raises(InvalidOption):
        task.options(**{option: value})


def test_a_job_has_a_bounded_number_of_tags() -> None:
    task = Treadle("memory://").task(name="t")(nothing)
    task.options(tags=[str(n) for n in range(100)])
    with pytest.raises(InvalidOption, match="100 at most"):
        task.options(tags=[str(n) for n in range(101)])


@given(st.text(min_size=1))
def test_a_key_made_of_any_text_can_be_seen_and_is_its_own(value: str) -> None:
    rule = key_rule("user:{value}", option="key", task="t", parameters=["value"])
    key = rule({"value": value})
    assert key is not None
    assert key.isprintable()
    assert len(key) <= 200
    assert key != rule({"value": value + "\n"})
    assert key != rule({"value": value + "\x1b"})


LOOKALIKES = ["pау", "pay\u200d", "ｐay", "PAY", "pay ", "pay.", "builtins.eval", "os:system"]


async def test_only_the_very_name_of_a_task_runs_it(tmp_path: Path) -> None:
    """Nothing that looks like the name, and nothing that Python could import."""
    import msgspec

    from treadle.codec import Codec
    from treadle.records import NewJob

    ran: list[str] = []
    async with Treadle(f"sqlite:///{tmp_path}/jobs.db") as app:

        @app.task(name="pay")
        async def pay() -> None:
            ran.append("pay")

        names = [*LOOKALIKES, "treadle.app.Treadle", "../pay", "pay.__globals__", "pay\0"]
        payload = Codec().seal(msgspec.msgpack.encode({}))
        backend = await app.core.ready()
        await backend.push(
            [NewJob(id=app.core.ids.new(), task=name, payload=payload) for name in names]
        )
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        page = await backend.find(Query())
        assert len(page.records) == len(names)
        assert {one.state for one in page.records} == {JobState.SCHEDULED}
        assert ran == []


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_keys_of_jobs_are_no_keys_of_the_store(kind: str, tmp_path: Path) -> None:
    """A key may have the very name of a cell in which the store keeps a rule."""
    url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    async with Treadle(url) as app:

        @app.task(name="t", key="{value}", unique="{value}")
        async def held(value: str) -> str:
            return value

        values = [f"{QUEUE_CELL}default", "session:1", "key:x", "limit:x", "after:x", "treadle_job"]
        jobs = [await held.aenqueue(value) for value in values]
        backend = await app.core.ready()
        cells = await backend.read([*values, QUEUE_CELL + "*"])
        assert all(cells.get(value) is None for value in values)
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        assert [await job.aresult() for job in jobs] == values


def tables(namespace: str) -> set[str]:
    made = sqlite3.connect(":memory:")
    try:
        for statement in schema(namespace):
            made.execute(statement)
        names = made.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
        return {name for (name,) in names}
    finally:
        made.close()


def test_no_two_namespaces_share_a_table() -> None:
    """Not even where the name of one, and of a table, is cut out of the name of another."""
    bare = {name.removeprefix("treadle_") for name in tables("treadle")}
    others = {"x"}
    for name in bare:
        parts = name.split("_")
        others |= {"x_" + "_".join(parts[:at]) for at in range(1, len(parts))}
    assert len(others) > 3
    seen: set[str] = set()
    for namespace in (*others, "x_", "x__", "X", "_x"):
        assert seen.isdisjoint(tables(namespace)), namespace
        seen |= tables(namespace)


@given(st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True))
def test_every_namespace_names_tables_of_its_own(namespace: str) -> None:
    assert {name.lower() for name in tables(namespace)} == tables(namespace)
    assert all(name.startswith(prefix_of(namespace) + "_") for name in tables(namespace))
    if namespace != "treadle":
        assert tables(namespace).isdisjoint(tables("treadle"))


def test_statements_hold_no_values() -> None:
    """All that varies is a parameter: no text in quotes but names of tables, no concatenation."""
    load("treadle")
    files = list(resources.files("treadle.backends.sqlite").iterdir())
    texts = {one.name: one.read_text("utf-8") for one in files if one.name.endswith(".sql")}
    assert len(texts) > 5
    for name, text in texts.items():
        code = re.sub(r"--.*$|/\*.*?\*/", "", text, flags=re.MULTILINE | re.DOTALL)
        assert not re.search(r"[%{}]|\bformat\b", code), name
