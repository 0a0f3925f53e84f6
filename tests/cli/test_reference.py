"""The pages of the reference name every command, option and setting that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.main import get_command

from treadle.cli import root
from treadle.config import ForemanSettings, LogSettings, Settings, foreman_settings, load
from treadle.config.values import FIELDS, OPEN

PAGES = Path(__file__).parents[2] / "docs" / "reference"
SHARED = {"--help", "--install-completion", "--show-completion", "--version", "--reload"}


def commands(group: Any, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = commands(command, f"{path}{name} ") if hasattr(command, "commands") else {}
        found |= inner or {path + name: command}
    return found


def test_every_command_and_option_is_in_the_reference() -> None:
    page = (PAGES / "cli.md").read_text()
    for path, command in commands(get_command(root)).items():
        section = (
            page.split(f"\n## {path.split()[0]}")[-1] if path not in ("config", "doctor") else page
        )
        assert f"`{path.split()[-1]}`" in page or f"treadle {path}" in page, path
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option not in SHARED:
                    assert option in section or option in page.split("\n## run")[0], (path, option)


def test_every_setting_is_in_the_reference_with_its_default() -> None:
    page = (PAGES / "configuration.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| `?([^|`]*)`? \|", page, re.MULTILINE))
    chosen = {name for name in rows if name.partition(".")[0] in OPEN}
    assert {name.partition(".")[0] for name in chosen} == set(OPEN)
    rows = {name: text for name, text in rows.items() if name not in chosen}
    modes = ("thread", "asyncio", "process", "ray")
    of_a_mode = [name for name in FIELDS if name.split(".")[1:2] and name.split(".")[1] in modes]
    shown = [name for name in FIELDS if name not in of_a_mode]
    assert [name for name in rows if ".MODE." not in name] == shown
    assert {name.replace("MODE", "thread") for name in rows if ".MODE." in name} == {
        name for name in of_a_mode if ".thread." in name
    }
    rows = {name: text for name, text in rows.items() if ".MODE." not in name}
    given: dict[str, Any] = {"foreman": {}, "workers": {}, "log": {}}
    for name, text in rows.items():
        group, _, leaf = name.rpartition(".")
        value = text.strip()
        if value not in ("none", ""):
            (given[group] if group else given)[leaf] = value
    said = load(**given)
    assert (said.foreman, said.log) == (ForemanSettings(), LogSettings())
    assert {name: getattr(said, name) for name in rows if "." not in name} == {
        name: getattr(Settings(), name) for name in rows if "." not in name
    }
    assert foreman_settings(ForemanSettings()) == said.foreman
