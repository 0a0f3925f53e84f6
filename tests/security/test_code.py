"""What the code of the library may not do at all, found in its syntax."""

from __future__ import annotations

import ast
import random  # noqa: TID251  its state is what is not used
from collections import Counter
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest

import treadle
from treadle.ids import SystemIds

HERE = Path(treadle.__file__).parent
SOURCES = sorted(HERE.rglob("*.py"))
# Reading these runs code that is in the data.
RUNNING = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
# Pickle, for those who choose it and sign; and between a process and the children it has started
# itself, over pipes that nobody else holds.
CHOSEN = {HERE / "codec" / "pickled.py"}
OWN_CHILDREN = HERE / "pools" / "places"


def forbidden(text: str) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                found += [one.name for one in names if one.name.partition(".")[0] in RUNNING]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in RUNNING:
                found.append(module)
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                found.append(name)
            case ast.Call(func=ast.Attribute(attr="mktemp")):
                found.append("mktemp")
            case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                found.append("shell=True")
            case _:
                pass
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(HERE)))
def test_no_data_become_code(path: Path) -> None:
    found = forbidden(path.read_text("utf-8"))
    if path in CHOSEN or OWN_CHILDREN in path.parents:
        found = [one for one in found if one.partition(".")[0] not in {"pickle", "cloudpickle"}]
    assert found == []


def test_data_that_become_code_would_be_found() -> None:
    code = "import pickle\nfrom yaml import load\neval(x)\nrun(x, shell=True)\ntempfile.mktemp()"
    assert len(forbidden(code)) == 5


def test_an_id_tells_nothing_of_the_next_one() -> None:
    """62 bits of each are the operating system's, whatever a program does with its own chance."""
    random.seed(1)
    ids = SystemIds()
    first = [UUID(ids.new()).int & ((1 << 62) - 1) for _ in range(4000)]
    random.seed(1)
    assert set(first).isdisjoint(UUID(SystemIds().new()).int & ((1 << 62) - 1) for _ in range(4000))
    ones = [sum(half >> bit & 1 for half in first) for bit in range(62)]
    # 4000 throws of a coin: 2000, give or take 32; seven times that never happens.
    assert all(abs(count - 2000) < 220 for count in ones)
    changes = [(one ^ other).bit_count() for one, other in pairwise(first)]
    assert abs(sum(changes) / len(changes) - 31) < 1
    assert Counter(half % 251 for half in first).most_common(1)[0][1] < 60
