"""The contract suite itself: whole, and strict with what is handed to it."""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path

import pytest

from treadle.ports import Feature
from treadle.records import JobState
from treadle.testing import contract
from treadle.testing.contract import BackendContract, alter, needs

pytest_plugins = ("pytester",)

THEMES = BackendContract.__bases__


def test_every_theme_is_part_of_the_whole() -> None:
    exported = {getattr(contract, name) for name in contract.__all__}
    assert set(THEMES) == {
        one
        for one in exported
        if inspect.isclass(one)
        and issubclass(one, contract.Contract)
        and one not in {contract.Contract, BackendContract}
    }


def test_no_case_hides_another() -> None:
    names = Counter(name for theme in THEMES for name in vars(theme) if not name.startswith("__"))
    assert [name for name, number in names.items() if number > 1] == []


def test_every_case_names_what_it_proves() -> None:
    cases = [
        case for theme in THEMES for name, case in vars(theme).items() if name.startswith("test_")
    ]
    assert len(cases) > 250
    assert [case.__qualname__ for case in cases if not case.__doc__] == []
    assert [case.__qualname__ for case in cases if not inspect.iscoroutinefunction(case)] == []


def test_the_table_of_changes_is_whole() -> None:
    assert len(alter.CELLS) == len(alter.TABLE) * len(JobState)


def test_needs_is_read_from_classes_and_cases() -> None:
    @needs(Feature.KEYS)
    class Cases:
        @needs(Feature.UNIQUE)
        async def test_one(self) -> None: ...

        async def test_two(self) -> None: ...

    assert vars(Cases.test_one)["_needs"] == {Feature.KEYS, Feature.UNIQUE}
    assert vars(Cases.test_two)["_needs"] == {Feature.KEYS}


FILE = """
    from __future__ import annotations
    import pytest
    from treadle import backends
    from treadle.ports import Feature
    from treadle.testing.contract import BackendContract

    class TestMine(BackendContract):
        @pytest.fixture
        def make(self, clock, ids):
            backend = backends.open("memory://", clock=clock, ids=ids)
            backend.features = backend.features - {Feature.UNIQUE}
            return lambda **options: backend
"""


def test_a_test_file_of_ten_lines_and_what_is_not_served(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FILE)
    result = pytester.runpytest_inprocess(
        "-q", "-rs", "-k", "skip_leaves_the_holder or pushing_nothing", *OPTIONS
    )
    result.assert_outcomes(passed=1, skipped=14)
    result.stdout.fnmatch_lines(["*does not serve unique*"])


def test_a_file_without_make_is_told_what_to_write(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from treadle.testing.contract import BackendContract

        class TestMine(BackendContract):
            pass
        """
    )
    result = pytester.runpytest_inprocess("-q", "-k", "pushing_nothing", *OPTIONS)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*TestMine must override the fixture make*"])


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the package is not installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(contract.__file__).parents[3]))


OPTIONS = ("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
