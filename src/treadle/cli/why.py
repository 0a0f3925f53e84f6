"""``treadle why``: what keeps a job from running."""

from __future__ import annotations

from typing import Annotated

import typer

from treadle.cli.options import AppOption, Json, Url
from treadle.cli.output import Output
from treadle.cli.root import root
from treadle.cli.stores import Store, on_store
from treadle.cli.times import iso, local
from treadle.why import Blocker, Why
from treadle.why import why as explain

__all__: list[str] = []


@root.command()
def why(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")],
    url: Url = None,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Say why a job is not running, and what would help."""
    out = Output(json=json)

    async def work(store: Store) -> tuple[Why, str]:
        return await explain(store.backend, job, store.clock), store.suffix

    found, suffix = on_store(work, url, app)
    if json:
        out.data(
            {
                "job": found.job,
                "task": found.task,
                "queue": found.queue,
                "state": found.state,
                "summary": found.summary,
                "blockers": [_view(one) for one in found.blockers],
            }
        )
        return
    out.line(f"{found.job}  {found.task}  {found.state}")
    for number, one in enumerate(found.blockers, 1):
        until = f" ({local(one.until)})" if one.until is not None else ""
        out.text(f"{number}. {one.says}{until}")
        if one.action:
            out.line(f"   → {_action(one, suffix)}")


def _action(blocker: Blocker, suffix: str) -> str:
    """The action, its command complete with the store."""
    command = f"treadle {' '.join(blocker.command)}"
    if blocker.command and command in blocker.action:
        return blocker.action.replace(command, command + suffix)
    return blocker.action


def _view(blocker: Blocker) -> dict[str, object]:
    return {
        "kind": blocker.kind,
        "says": blocker.says,
        "action": blocker.action or None,
        "command": blocker.command or None,
        "until": iso(blocker.until),
        "jobs": blocker.jobs,
    }
