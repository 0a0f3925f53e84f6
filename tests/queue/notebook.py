"""Runs cells in a kernel of IPython, as a notebook does: a line of JSON says what each gave."""

from __future__ import annotations

import json
import sys
from typing import Any

from jupyter_client.manager import start_new_kernel

_PATIENCE = 120


def run(client: Any, code: str) -> dict[str, Any]:
    """What a cell printed, gave as its value, and raised."""
    said: dict[str, Any] = {"text": "", "value": None, "error": None}

    def hear(message: Any) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            said["text"] += content["text"]
        elif message["msg_type"] == "execute_result":
            said["value"] = content["data"]["text/plain"]
        elif message["msg_type"] == "error":
            said["error"] = f"{content['ename']}: {content['evalue']}"

    client.execute_interactive(code, timeout=_PATIENCE, output_hook=hear)
    return said


def main() -> None:
    manager, client = start_new_kernel(startup_timeout=_PATIENCE)
    try:
        for cell in json.load(sys.stdin):
            print(json.dumps(run(client, cell)), flush=True)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
