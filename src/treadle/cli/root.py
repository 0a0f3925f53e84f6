"""The root of the command line: errors become one line and an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from treadle.cli.output import complain
from treadle.cli.statuses import INTERRUPTED, status_of
from treadle.errors import TreadleError

__all__ = ["group", "root"]

# Boxes and colours in help and usage errors belong on a terminal only.
_MARKUP: Any = "rich" if sys.stdout.isatty() and sys.stderr.isatty() else None
_debug = False


class _Root(TyperGroup):
    """Ends every command the same way."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TreadleError as error:
            if _debug:
                complain(traceback.format_exc().rstrip())
            complain(f"error: {error}")
            raise typer.Exit(status_of(error)) from None
        except (KeyboardInterrupt, typer.Abort):
            complain("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader has seen enough. What Python still holds must not fail at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


def group(name: str, text: str) -> typer.Typer:
    """A group of commands below the root."""
    made = typer.Typer(no_args_is_help=True, rich_markup_mode=_MARKUP)
    root.add_typer(made, name=name, help=text)
    return made


root = typer.Typer(
    name="treadle",
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode=_MARKUP,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from treadle import __version__

        sys.stdout.write(f"treadle {__version__}\n")
        raise typer.Exit


@root.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Background jobs and stateful workers."""
    global _debug
    _debug = debug
