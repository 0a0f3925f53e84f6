"""Every example runs, and every page of the documentation does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import blocks

HERE = Path(__file__).parent
ROOT = HERE.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# Their blocks take long: the suite of a backend, a user's own test suite, every command.
LONG = {
    ROOT / "docs" / page
    for page in ("how-to/write-a-backend.md", "how-to/testing.md", "reference/cli.md")
}
PAGES = [
    pytest.param(
        page,
        id=page.relative_to(ROOT).as_posix(),
        marks=[pytest.mark.slow] if page in LONG else [],
    )
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.is_file()
    and "_build" not in page.parts
    and any(
        block.language in {"python", "console", "sh"} for block in blocks(page.read_text("utf-8"))
    )
]


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / "src"), str(folder)])
    environment = {name: value for name, value in os.environ.items() if "TREADLE" not in name}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def _follow(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return _run(folder, str(HERE / "pages.py"), str(page), str(folder / "reader"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, tmp_path: Path) -> None:
    done = _run(tmp_path, "-W", "error", str(example))
    assert done.returncode == 0, done.stdout + done.stderr
    # What finalisers and child processes have to say does not change the exit status.
    assert "Warning" not in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_page(page: Path, tmp_path: Path) -> None:
    done = _follow(page, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


GOOD = """
# A page

```python
# words.py
def count(text: str) -> int:
    return len(text.split())
```

```toml file=some/settings.toml
[words]
```

```python run-first="test -f some/settings.toml"
import asyncio
from words import count

assert count("a b") == 2
```

```python
await asyncio.sleep(0)
names = [count(text) for text in ("a", "a b c")]
```

```python
assert names == [1, 3]
```

<!-- raises: ZeroDivisionError -->
```python
1 / 0
```

<!-- not run: it would not end -->
```python
while True: ...
```

```console
$ python -c "import words; print(words.count('a b'))"
2
$ pip install nothing
```

<!-- exits: 3 -->
```console
$ python -c "raise SystemExit(3)"
```

<!-- in the background -->
```console
$ sh -c 'trap "exit 0" TERM; touch here; while :; do sleep 0.01; done'
```

```console
$ until test -e here; do :; done
```

```sh
pip install treadle
treadle config --json  # where each value comes from
```
"""


def test_a_page_that_does_what_it_says(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(GOOD)
    done = _follow(page, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n2\n" in done.stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```python\nassert False\n```", "page.md:3"),
        ("```python\nx = 1\n```\n\n```python\nraise OSError\n```", "page.md:7"),
        ("```python\nawait nothing()\n```", "NameError"),
        ("<!-- raises: OSError -->\n```python\n1 / 0\n```", "ZeroDivisionError"),
        ("<!-- raises: OSError -->\n```python\n1 + 0\n```", "nothing raised OSError"),
        ("```python\n# x.py\nthis is no python\n```", "SyntaxError"),
        ("```console\n$ python -c 'raise SystemExit(3)'\n```", "exits with 3, not 0"),
        ("<!-- in the background -->\n```console\n$ false\n```", "in the background exits"),
        ("```sh\ntreadle confug\n```", "no command confug"),
        ("```sh\ntreadle config --jsno\n```", "no option --jsno"),
        ('```python run-first="false"\n```', "`false` exits with 1"),
        ("- a list\n\n  ```python\n  assert False\n  ```", "AssertionError"),
    ],
)
def test_a_page_that_does_not(tmp_path: Path, text: str, says: str) -> None:
    page = tmp_path / "page.md"
    page.write_text("\n\n" + text + "\n")
    done = _follow(page, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert says in done.stderr
