"""How scripts are composed of fragments, and that a server takes each of them."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from tests.backends.redis_server import client
from treadle.backends.redis import scripts

FOLDER = Path(str(files("treadle.backends.redis"))) / "lua"
NAMES = sorted(path.stem for path in FOLDER.glob("*.lua"))


@pytest.fixture
def fragments(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Fragments of the test instead of the files."""
    texts: dict[str, str] = {}
    monkeypatch.setattr(scripts, "_text", texts.__getitem__)
    return texts


def test_a_fragment_stands_once_and_before_who_includes_it(fragments: dict[str, str]):
    fragments["base"] = "local a = 1\n"
    fragments["left"] = "--@ include base\nlocal b = a\n"
    fragments["right"] = "--@ include base\nlocal c = a\n"
    fragments["whole"] = "--@ include left\n--@ include right\nreturn b + c\n"
    text = scripts.compose("whole")
    code = [line for line in text.splitlines() if not line.startswith("--")]
    assert code == ["local a = 1", "local b = a", "local c = a", "return b + c"]


def test_fragments_that_include_each_other_are_refused(fragments: dict[str, str]):
    fragments["one"] = "--@ include two\n"
    fragments["two"] = "--@ include one\n"
    with pytest.raises(ValueError, match="one -> two -> one"):
        scripts.compose("one")


def test_comments_stay_here():
    source = scripts.script("claim").source.decode()
    assert not re.search(r"^\s*--", source, re.MULTILINE)
    assert "local function suspect_alone()" in source


def test_a_script_is_named_by_what_is_sent(redis_url: str):
    server = client(redis_url)
    one = scripts.script("push")
    assert server.script_load(one.source) == one.sha
    server.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_server_takes_it(name: str, redis_url: str):
    """It compiles, with no more local names than Lua allows, and makes no global one."""
    server = client(redis_url)
    assert server.script_load(scripts.script(name).source)
    server.close()


@pytest.mark.parametrize("name", NAMES)
def test_no_script_reads_everything(name: str):
    """Nothing that grows with the jobs is walked through: no KEYS, no SCAN, no whole sets."""
    text = (FOLDER / f"{name}.lua").read_text()
    assert not re.search(r"call\('(KEYS|SCAN|SORT)'", text)
