"""Settings come from four places, in one order, and say where they came from."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from treadle.config import ForemanSettings, Settings, foreman_settings, load, mask, origins
from treadle.errors import InvalidOption, TreadleError, UnknownOption


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    for variable in ("TREADLE_URL", "TREADLE_APP", "TREADLE_NAMESPACE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def refusal(**arguments: object) -> str:
    with pytest.raises(TreadleError) as caught:
        load(**arguments)
    return str(caught.value)


def test_without_anything_the_defaults_hold() -> None:
    assert load() == Settings()
    assert {one.origin for one in origins(load())} == {"default"}


def test_argument_beats_environment_beats_file_beats_default(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "treadle.toml").write_text(
        'url = "redis://file"\nnamespace = "file"\nmax_failed = 7\n'
    )
    monkeypatch.setenv("TREADLE_URL", "redis://environment")
    monkeypatch.setenv("TREADLE_NAMESPACE", "environment")

    settings = load(url="redis://argument")

    assert (settings.url, settings.namespace) == ("redis://argument", "environment")
    assert (settings.max_failed, settings.max_payload) == (7, 1 << 20)
    found = {one.name: one.origin for one in origins(settings)}
    assert found["url"] == "argument"
    assert found["namespace"] == "environment TREADLE_NAMESPACE"
    assert found["max_failed"] == str(directory / "treadle.toml")
    assert found["max_payload"] == "default"


def test_an_argument_of_none_and_an_empty_variable_are_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TREADLE_URL", "")
    assert load(url=None, foreman=None) == Settings()


def test_groups_are_mappings_and_double_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_FOREMAN__CONCURRENCY", "50")
    monkeypatch.setenv("TREADLE_FOREMAN__QUEUES", "mail, reports:5")
    foreman = load(foreman={"lease": "1m", "grace": timedelta(seconds=5)}).foreman
    assert (foreman.concurrency, foreman.queues) == (50, ("mail", "reports:5"))
    assert (foreman.lease, foreman.grace) == (60.0, 5.0)


@pytest.mark.parametrize(
    ("text", "size"), [("1000", 1000), ("1MiB", 1 << 20), ("2 mb", 2_000_000), ("1.5k", 1500)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert load(max_payload=text).max_payload == size


def test_what_may_be_absent_can_be_switched_off(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "treadle.toml").write_text("[foreman]\nmax_jobs = 100\n")
    monkeypatch.setenv("TREADLE_FOREMAN__MAX_JOBS", "none")
    assert load().foreman.max_jobs is None


def test_the_nearest_file_counts(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "pyproject.toml").write_text('[tool.treadle]\nnamespace = "outer"\n')
    inner = directory / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").write_text('[project]\nname = "without-settings"\n')
    monkeypatch.chdir(inner)
    assert load().namespace == "outer"
    (inner.parent / "treadle.toml").write_text('namespace = "nearer"\n')
    assert load().namespace == "nearer"


def test_the_search_ends_at_the_root_of_the_repository(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "treadle.toml").write_text('namespace = "outside"\n')
    (directory / "project" / ".git").mkdir(parents=True)
    monkeypatch.chdir(directory / "project")
    assert load().namespace == "treadle"


def test_a_relative_store_counts_from_the_file_that_names_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "treadle.toml").write_text('url = "sqlite:///jobs.db?durability=normal"\n')
    (directory / "inner").mkdir()
    monkeypatch.chdir(directory / "inner")
    assert load().url == f"sqlite:///{directory}/jobs.db?durability=normal"
    assert load(url="sqlite:///jobs.db").url == "sqlite:///jobs.db"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"urll": "x"}, "argument: no setting 'urll'. Did you mean 'url'?"),
        ({"foreman": {"concurency": 1}}, "Did you mean 'foreman.concurrency'?"),
        ({"concurrency": 1}, "Did you mean 'foreman.concurrency'?"),
        ({"foreman": {"concurrency": 0}}, "is 0, but must be a whole number from 1"),
        ({"foreman": {"concurrency": True}}, "is True, but must be a whole number"),
        ({"foreman": {"lease": "soon"}}, "foreman.lease is 'soon', but must be seconds above 0"),
        ({"foreman": {"lease": 0}}, "foreman.lease is 0, but must be seconds above 0"),
        ({"foreman": 3}, "foreman is 3, but must be a table of settings"),
        ({"log": {"level": "loud"}}, "one of 'debug', 'info', 'warning', 'error', 'critical'"),
        ({"max_payload": "much"}, "max_payload is 'much', but must be bytes"),
        ({"sources": {}}, "no setting 'sources'"),
        (
            {"foreman": {"queues": "a:2,b", "exclude": "b,a"}},
            "exclude: all of queues=a:2,b are excluded",
        ),
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, object], says: str) -> None:
    assert says in refusal(**arguments)


def test_options_of_a_foreman_go_over_what_is_configured() -> None:
    base = ForemanSettings(concurrency=7, max_jobs=10)
    found = foreman_settings(base, lease="1m", queues=["a", "b"], grace=None, max_jobs="none")
    assert found == ForemanSettings(concurrency=7, lease=60.0, queues=("a", "b"), max_jobs=None)
    assert foreman_settings(base) == base


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"concurency": 5}, "no option 'concurency' (did you mean 'concurrency'?). Known options"),
        ({"concurrency": -1}, "foreman.concurrency is -1, but must be a whole number from 1"),
    ],
)
def test_refused_options_of_a_foreman(options: dict[str, object], says: str) -> None:
    with pytest.raises(TreadleError, match=re.escape(says)):
        foreman_settings(ForemanSettings(), **options)


def test_a_refused_variable_is_named_with_its_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_CONCURRENCY", "5")
    with pytest.raises(UnknownOption) as caught:
        load()
    assert "environment variable TREADLE_CONCURRENCY" in str(caught.value)
    assert "Did you mean 'TREADLE_FOREMAN__CONCURRENCY'?" in str(caught.value)


def test_a_refused_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_FOREMAN__CONCURRENCY", "many")
    with pytest.raises(InvalidOption) as caught:
        load()
    assert str(caught.value) == (
        "environment variable TREADLE_FOREMAN__CONCURRENCY: foreman.concurrency is 'many', "
        "but must be a whole number from 1"
    )


@pytest.mark.parametrize(
    "variable",
    [
        *("TREADLE__CHILD", "TREADLE_SERVICE_HOST", "TREADLE_PORT_80_TCP"),
        *("TREADLE_FAILPOINTS", "TREADLE_FAILPOINTS_SEED", "TREADLE_MODEL_EXAMPLES"),
    ],
)
def test_variables_of_others_are_left_alone(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "x")
    assert load() == Settings()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("treadle.toml", "url = ", "treadle.toml cannot be read as TOML"),
        ("treadle.toml", "[foremen]\n", "no setting 'foremen'. Did you mean 'foreman'?"),
        ("pyproject.toml", "[tool.treadle]\nurll = 1\n", "pyproject.toml [tool.treadle]: no"),
        ("pyproject.toml", "[tool]\ntreadle = 1\n", "[tool.treadle] must be a table"),
        ("treadle.toml", "[treadle]\nurl = 1\n", "they stand at the top, under no heading"),
        ("treadle.toml", "[tool.treadle]\nurl = 1\n", "they stand at the top, under no heading"),
        ("treadle.toml", "url = 5\n", "url is 5, but must be a URL like 'sqlite:///jobs.db'"),
        ("treadle.toml", 'url = "jobs.db"\n', "url is 'jobs.db', but must be a URL like"),
    ],
)
def test_a_refused_file_is_named(directory: Path, name: str, text: str, says: str) -> None:
    (directory / name).write_text(text)
    message = refusal()
    assert says in message
    assert str(directory) in message


def test_a_refusal_names_what_may_have_been_meant_and_no_more() -> None:
    assert "Known" not in refusal(urll="x")
    known = refusal(foreman={"of_another_kind_altogether": 1}).partition("Known: ")[2]
    assert "foreman.grace" in known
    assert "url" not in known
    known = refusal(of_another_kind_altogether=1).partition("Known: ")[2]
    assert "url" in known
    assert "foreman.grace" not in known


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s3cret@host/db", "postgresql://ann:***@host/db"),
        ("redis://:s3cret@host:6379/1", "redis://:***@host:6379/1"),
        ("redis://host?password=s3cret&db=1", "redis://host?password=***&db=1"),
        ("sqlite:////var/lib/jobs.db", "sqlite:////var/lib/jobs.db"),
        ("amqp://user@host", "amqp://user@host"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert mask(url) == shown
    assert {one.name: one.value for one in origins(load(url=url))}["url"] == shown
    assert "s3cret" not in refusal(foreman={"concurrency": f"redis://u:{'s3cret'}@h"})


def test_tables_with_names_of_ones_own(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "treadle.toml").write_text(
        '[backends]\nfast = "redis://a"\nbulk = "sqlite:///b.db"\n'
        '[routes]\nmail = "fast"\nimages.thumbs = "bulk"\n"a:b" = "fast"\n'
    )
    monkeypatch.setenv("TREADLE_BACKENDS__FAST", "redis://u:secret@b")
    monkeypatch.setenv("TREADLE_ROUTES", "mail=bulk, a.b = fast")
    monkeypatch.setenv("TREADLE_ROUTES__SMS__LATE", "bulk")
    settings = load(routes={"mail": "default"})
    assert settings.backends == {
        "fast": "redis://u:secret@b",
        "bulk": f"sqlite:///{directory}/b.db",
    }
    assert settings.routes == {
        "mail": "default",
        "images.thumbs": "bulk",
        "a:b": "fast",
        "a.b": "fast",
        "sms.late": "bulk",
    }
    assert "secret" not in repr(settings)
    assert settings.sources["routes.mail"] == "argument"
    shown = {one.name: one.value for one in origins(settings)}
    assert shown["backends.fast"] == "redis://u:***@b"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("TREADLE_BACKENDS", "redis://:secret@a", "write .*TREADLE_BACKENDS__NAME=URL"),
        ("TREADLE_BACKENDS__A", "here", "backends.a is 'here', but must be a URL"),
        ("TREADLE_ROUTES", "mail", "write 'mail=fast,images.thumbs=bulk'"),
    ],
)
def test_tables_that_cannot_be_read(
    variable: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidOption, match=says) as refused:
        load()
    assert "secret" not in str(refused.value)
