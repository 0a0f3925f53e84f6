"""Plants defects in a copy of the tree, one at a time, and sees whether the tests notice.

The list is in ``tests/mutations/*.toml``, grouped by part; a group of defects is a file, and each
says what it breaks, the one place in the code, and the test that has to fail::

    [[mutation]]
    what = "a settle does not look at the fence"
    file = "src/treadle/backends/memory/settle.py"
    old = "job.fence != token.fence"
    new = "False"
    test = "tests/backends/test_memory.py::TestMemory::test_a_forged_token_is_lost"

``old`` has to be there exactly once: the list follows the code, or the run is refused. Without
defects all those tests must pass, and with its own defect each must fail, not hang or break: a
defect that a test survives is a test that is missing.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from math import inf
from pathlib import Path
from typing import NamedTuple

from treadle.clock import SystemClock

SHARES = 8
"""Without anything to compare with, one of so many parts of the list is looked at."""
LONGEST = 120.0
"""Seconds after which a test hangs; a defect is to be seen, not waited for."""
_LEFT_OUT = (".git", ".venv*", ".cache", "__pycache__", "_build", "dist", "build", "*.db*")
_FAILED = 1  # status of pytest when a test has failed, or could not be set up


class Refused(Exception):
    """The list cannot be used as it is."""


class Mutation(NamedTuple):
    """A defect to be planted."""

    what: str
    file: str
    old: str
    new: str
    test: str

    def flaw(self, root: Path) -> str | None:
        """What is wrong with it, seen from the code as it is."""
        path = root / self.file
        times = path.read_text("utf-8").count(self.old) if path.is_file() and self.old else 0
        if times != 1:
            return f"{self.what}: its text is {times} times in {self.file}, not once: {self.old!r}"
        if not (root / self.test.partition("::")[0]).is_file():
            return f"{self.what}: there is no {self.test}"
        return None if self.old != self.new else f"{self.what}: it changes nothing"


class Outcome(NamedTuple):
    """How a mutation fared."""

    mutation: Mutation
    # ``noticed``, ``SURVIVED``, ``HANGS`` or ``BREAKS``.
    verdict: str
    seconds: float
    # The last words of the tests.
    says: str = ""


def read(root: Path) -> list[Mutation]:
    """The list.

    Raises:
        Refused: an entry has not what an entry has, or its text is not in the code.
    """
    found: list[Mutation] = []
    for path in sorted((root / "tests" / "mutations").glob("*.toml")):
        for entry in tomllib.loads(path.read_text("utf-8")).get("mutation", ()):
            try:
                found.append(Mutation(**entry))
            except TypeError as error:
                raise Refused(f"{path.name}: {entry.get('what', entry)}: {error}") from None
    flaws = [flaw for one in found if (flaw := one.flaw(root)) is not None]
    if flaws:
        raise Refused("\n".join(flaws))
    return found


# ---------------------------------------------------------------- which


def git(root: Path, *words: str) -> str | None:
    """The answer of git; nothing when it has none."""
    done = subprocess.run(("git", *words), cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def base_of(root: Path) -> str | None:
    """What the tree is compared with: where it left the main branch, else the last release."""
    head = git(root, "rev-parse", "HEAD")
    for branch in ("origin/HEAD", "origin/main", "main"):
        common = git(root, "merge-base", "HEAD", branch)
        if common is not None and common != head:
            return common
    return git(root, "describe", "--tags", "--abbrev=0")


def changed_since(root: Path, base: str) -> set[str]:
    """The files that differ from a commit, those that git does not know yet too."""
    differ = git(root, "diff", "--name-only", "--relative", base)
    if differ is None:
        raise Refused(f"git knows no {base!r} to compare with")
    new = git(root, "ls-files", "--others", "--exclude-standard") or ""
    return {*differ.splitlines(), *new.splitlines()}


def concerned(root: Path, mutations: Sequence[Mutation], changed: set[str]) -> list[Mutation]:
    """Those whose file has changed, or a file that defines their test."""
    texts = [
        (root / name).read_text("utf-8")
        for name in sorted(changed)
        if name.endswith(".py") and (root / name).is_file()
    ]

    def test_changed(test: str) -> bool:
        name = re.split(r"::|\[", test)[test.count("::")]
        return any(re.search(rf"\bdef {name}\(", text) for text in texts)

    return [one for one in mutations if one.file in changed or test_changed(one.test)]


def chosen(root: Path, mutations: list[Mutation], seed: int | None) -> list[Mutation]:
    """What a change has to be tried with; says why."""
    base = base_of(root) if seed is None else None
    if base is not None:
        few = concerned(root, mutations, changed_since(root, base))
        print(f"{len(few)} of {len(mutations)} mutations: what has changed since {base[:12]}")
        return few
    seed = int(SystemClock().now()) if seed is None else seed
    few = mutations[seed % SHARES :: SHARES]
    print(f"{len(few)} of {len(mutations)} mutations: one of {SHARES} shares, by the seed {seed}")
    return few


# ---------------------------------------------------------------- trying


class Copy:
    """A copy of the tree, in which one mutation at a time is planted."""

    def __init__(self, root: Path, place: Path) -> None:
        self.root = place
        shutil.copytree(root, place, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        self._clock = SystemClock()
        self._written = 0
        # First of all, so that no installed package comes before the copy.
        self._environment = {**os.environ, "PYTHONPATH": str(place / "src")}
        self._check()

    def _check(self) -> None:
        for package in (self.root / "src").iterdir():
            code = f"import {package.name}; print({package.name}.__file__)"
            done = self._run("-c", code)
            if not done[1].strip().startswith(str(self.root)):
                raise Refused(f"tests would not see the copy of {package.name}: {done[1]}")

    def _run(self, *words: str, longest: float = LONGEST) -> tuple[int | None, str]:
        """Status and output of Python; no status when it took too long."""
        # Not a pipe, whose end would not come before that of every process of the tests.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            child = subprocess.Popen(
                (sys.executable, *words),
                cwd=self.root,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status: int | None = child.wait(longest)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                status = None
            output.seek(0)
            return status, output.read()

    def tests(self, *words: str, longest: float = LONGEST) -> tuple[int | None, str]:
        """Run tests up to the first that fails."""
        quiet = ("-x", "-q", "--tb=short", f"--timeout={LONGEST / 4}")
        return self._run("-m", "pytest", *quiet, *words, longest=longest)

    def plant(self, mutation: Mutation) -> Outcome:
        """See what becomes of a mutation."""
        path = self.root / mutation.file
        text = path.read_text("utf-8")
        began = self._clock.monotonic()
        try:
            self._write(path, text.replace(mutation.old, mutation.new))
            status, says = self.tests(mutation.test)
        finally:
            self._write(path, text)
        return Outcome(mutation, _verdict(status, says), self._clock.monotonic() - began, says)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, "utf-8")
        # Compiled modules are known by the second of their source, and two of these are often
        # written within one.
        self._written += 1
        os.utime(path, (self._written, self._written))


def _verdict(status: int | None, says: str) -> str:
    if status is None:
        return "HANGS"
    if status == 0:
        return "SURVIVED"
    # What cannot even be set up shows nothing.
    failed = status == _FAILED and re.search(r"^FAILED ", says, re.MULTILINE)
    return "noticed" if failed else "BREAKS"


def tried(
    copies: Sequence[Copy], mutations: Sequence[Mutation], minutes: float
) -> Iterator[Outcome]:
    """Each outcome as it comes; none is begun after so many minutes."""
    clock = SystemClock()
    end = clock.monotonic() + minutes * 60
    free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)

    def one(mutation: Mutation) -> Outcome | None:
        if clock.monotonic() > end:
            return None
        copy = free.get()
        try:
            return copy.plant(mutation)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as threads:
        for done in as_completed([threads.submit(one, mutation) for mutation in mutations]):
            outcome = done.result()
            if outcome is not None:
                yield outcome


def run(root: Path, mutations: Sequence[Mutation], jobs: int, minutes: float) -> int:
    """Try them and print a table; how many were not noticed."""
    count = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copies = [Copy(root, Path(folder) / str(n)) for n in range(min(jobs, len(mutations)))]
        names = dict.fromkeys(one.test for one in mutations)
        side_by_side = ("-n", str(jobs if len(names) > jobs else 0))
        status, says = copies[0].tests(*side_by_side, *names, longest=LONGEST * len(names))
        if status != 0:
            raise Refused(f"the tests do not pass without any defect:\n{says}")
        wrong: list[Outcome] = []
        for outcome in tried(copies, mutations, minutes):
            count += 1
            one = outcome.mutation
            took = f"{outcome.seconds:5.1f} s"
            print(f"{outcome.verdict:9}{took}  {one.file}: {one.what}", flush=True)
            if outcome.verdict != "noticed":
                wrong.append(outcome)
    for verdict, one, _, says in ((bad.verdict, bad.mutation, 0, bad.says) for bad in wrong):
        print(f"\n{verdict}: {one.what}\n  {one.file}\n  {one.test}\n{says[-2000:]}")
    print(f"{count - len(wrong)} of {count} mutations noticed")
    if count < len(mutations):
        print(f"{len(mutations) - count} were left out: {minutes:g} minutes had passed")
    return len(wrong)


def main(arguments: Sequence[str]) -> int:
    """0 when all were noticed, 1 when not, 2 when the list cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only those whose lines have all of these words")
    parser.add_argument("--changed", action="store_true", help="only what a change concerns")
    parser.add_argument("--since", metavar="COMMIT", help="only what has changed since then")
    parser.add_argument("--seed", type=int, help="only a share of the list, which repeats one")
    parser.add_argument("--list", action="store_true", help="say which, and try nothing")
    parser.add_argument("--jobs", type=int, default=2, help="copies side by side; 2 by default")
    parser.add_argument(
        "--minutes", type=float, default=inf, help="begin no further one after so many"
    )
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent)
    given = parser.parse_args(arguments)
    root = given.root.resolve()
    try:
        mutations = read(root)
        if given.since is not None:
            mutations = concerned(root, mutations, changed_since(root, given.since))
        elif given.changed or given.seed is not None:
            mutations = chosen(root, mutations, given.seed)
        if given.words:
            mutations = [
                one for one in mutations if all(word in " ".join(one) for word in given.words)
            ]
        if given.list:
            print(*(f"{one.file}: {one.what}" for one in mutations), sep="\n")
            return 0
        return int(bool(mutations) and run(root, mutations, given.jobs, given.minutes) > 0)
    except Refused as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
