"""``ask.py with_saq '{"part": …}'``: prints as JSON what a peer does, in its environment.

The peer's program is imported, since many peers know a task by the module that has it.
"""

from __future__ import annotations

import importlib
import json
import sys

from measuring import answer

if __name__ == "__main__":
    print(json.dumps(answer(importlib.import_module(sys.argv[1]).CLIENT, json.loads(sys.argv[2]))))
