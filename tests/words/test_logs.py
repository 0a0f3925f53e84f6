"""Events reach the standard loggers, as a line and as fields."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from treadle.logs import get_logger


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="treadle")
    return caplog


def test_an_event_is_a_line_and_fields(shown: pytest.LogCaptureFixture) -> None:
    log = get_logger("treadle.words", job="j1").bind(attempt=2)
    log.info("job.done", share="100 %d")
    [record] = shown.records
    assert record.getMessage() == "job.done job='j1' attempt=2 share='100 %d'"
    assert record.__dict__["treadle"] == {
        "event": "job.done",
        "job": "j1",
        "attempt": 2,
        "share": "100 %d",
    }
    assert (record.name, record.levelname) == ("treadle.words", "INFO")


def test_bound_fields_stay_with_the_logger_that_bound_them(
    shown: pytest.LogCaptureFixture,
) -> None:
    log = get_logger("treadle.words")
    log.bind(job="j1")
    log.warning("alone")
    assert shown.records[0].getMessage() == "alone"


def test_an_exception_brings_its_traceback(shown: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("k")
    except KeyError:
        get_logger("treadle.words").exception("job.broke")
    assert "KeyError" in shown.text


def test_an_event_below_the_level_is_not_written(shown: pytest.LogCaptureFixture) -> None:
    get_logger("treadle.words").debug("too.small")
    assert not shown.records


def test_an_event_names_the_line_that_wrote_it(shown: pytest.LogCaptureFixture) -> None:
    get_logger("treadle.words").warning("here")
    [record] = shown.records
    assert record.pathname == __file__
    assert record.funcName == "test_an_event_names_the_line_that_wrote_it"


def test_a_program_that_configures_logs_loads_all_that_they_need() -> None:
    """Else the first event would stop a busy event loop while it is loaded."""
    code = """
import sys
from treadle.logs import configure, get_logger
configure(level="error")
before = set(sys.modules)
get_logger().error("hello", number=1)
print(set(sys.modules) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
