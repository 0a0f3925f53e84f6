"""The directive ``commands``: every command of the command line, with its arguments and options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from treadle.cli import root


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}


class Commands(SphinxDirective):
    """Describes what ``treadle --help`` would, for all commands."""

    def run(self) -> list[nodes.Node]:
        text = "\n".join(_describe(get_command(root), "treadle"))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _describe(command: Any, name: str) -> Iterator[str]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        context = typer.Context(command, info_name=name)
        yield f"## {name}\n"
        yield f"```text\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```\n"
        yield inspect.cleandoc(command.help or "") + "\n"
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record and parameter.name != "help":
                yield f"`{record[0]}`\n: {' '.join(record[1].split()) or 'required'}\n"
        return
    for word, subcommand in subcommands.items():
        if not subcommand.hidden:
            yield from _describe(subcommand, f"{name} {word}")
