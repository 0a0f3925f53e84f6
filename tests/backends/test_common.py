from __future__ import annotations

import pytest

from treadle.backends.common.lapses import ATTEMPTS_KEPT, Lapse, Lost, lapse, remember
from treadle.backends.common.pushing import conflict, dependency_failed, repeated
from treadle.backends.common.turns import rotated, take_turns
from treadle.backends.common.url import Url
from treadle.backends.common.waiting import Room, Rooms, Sleeper
from treadle.changes import TABLE, Outcome
from treadle.errors import InvalidOption
from treadle.queuenames import Matcher, ancestors, check_queue, covered, covers
from treadle.records import (
    Attempt,
    Cause,
    JobState,
    OnConflict,
    Pushed,
    PushStatus,
    Unique,
)

# ------------------------------------------------------------ names


@pytest.mark.parametrize("name", ["a", "mail.acme", "A-1_x:y.z", "x" * 128])
def test_names_of_queues(name):
    assert check_queue(name) == name


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a b", "ä", "a/b", "*", "x" * 129])
def test_names_that_no_queue_can_have(name):
    with pytest.raises(InvalidOption, match="is not a queue name") as refused:
        check_queue(name, "queues")
    assert refused.value.option == "queues"


def test_what_covers_what():
    assert covers("mail", "mail")
    assert covers("mail", "mail.acme.eu")
    assert covers("*", "mail")
    assert not covers("mail", "mailbox")
    assert not covers("mail.acme", "mail")
    assert ancestors("a.b.c") == ("a.b", "a")
    assert ancestors("a") == ()


def test_covered_names_are_found_in_order():
    names = sorted(["mail", "mail-x", "mail.a", "mail.b.c", "mailbox", "z"])
    assert covered(names, "mail") == ["mail", "mail.a", "mail.b.c"]
    assert covered(names, "mail.b") == ["mail.b.c"]
    assert covered(names, "none") == []
    assert covered(names, "*") == names
    assert covered(names, "*") is not names


def test_the_longest_name_decides():
    matcher = Matcher(["mail", "*", "mail.x.vip"], ["mail.x", "sms"])
    places = {name: matcher.place(name) for name in ("mail", "mail.a", "mail.x", "mail.x.y")}
    assert places == {"mail": 0, "mail.a": 0, "mail.x": None, "mail.x.y": None}
    assert matcher.place("mail.x.vip.1") == 2
    assert matcher.place("sms.de") is None
    assert matcher.place("other") == 1


def test_on_a_tie_exclude_wins():
    assert Matcher(["mail"], ["mail"]).place("mail") is None
    assert Matcher(["*"], ["*"]).place("mail") is None


@pytest.mark.parametrize(
    ("queues", "exclude", "overlapping"),
    [
        (["mail", "sms"], [], False),
        (["*"], [], False),
        (["mail", "*"], [], True),
        (["mail", "mail.a"], [], True),
        (["*"], ["mail"], True),
        (["mail"], ["mail"], True),
    ],
)
def test_names_that_overlap_are_known(queues, exclude, overlapping):
    assert Matcher(queues, exclude).overlapping is overlapping


# ------------------------------------------------------------ turns


def test_turns_go_on_after_the_last():
    assert rotated(["a", "b", "c"], "a") == ["b", "c", "a"]
    assert rotated(["a", "b", "c"], "bb") == ["c", "a", "b"]
    assert rotated(["a", "b", "c"], "c") == ["a", "b", "c"]
    assert rotated(["a", "b", "c"], None) == ["a", "b", "c"]


def test_places_are_shared_and_what_is_left_goes_round():
    have = {"a": 2, "b": 100, "c": 100}
    taken: list[tuple[str, int]] = []

    def take(name: str, wanted: int) -> int:
        number = min(wanted, have[name])
        have[name] -= number
        taken.append((name, number))
        return number

    assert take_turns(["a", "b", "c"], "a", 9, take) == "b"
    assert taken == [("b", 3), ("c", 3), ("a", 2), ("b", 1)]


def test_no_more_members_are_asked_than_there_are_places():
    asked: list[str] = []

    def take(name: str, wanted: int) -> int:
        asked.append(name)
        return wanted

    names = [f"{number:04}" for number in range(1000)]
    assert take_turns(names, None, 3, take) == "0002"
    assert asked == ["0000", "0001", "0002"]


# ------------------------------------------------------------ decisions


def test_every_cell_of_the_table_of_changes_is_filled():
    assert len(TABLE) == 5
    assert all(set(row) == set(JobState) for row in TABLE.values())
    asked = [
        (change.__name__, state)
        for change, row in TABLE.items()
        for state, outcome in row.items()
        if outcome is Outcome.ASKED
    ]
    assert asked == [("Cancel", JobState.RUNNING)]


def test_a_repeat_gets_the_answer_of_the_first():
    assert repeated(Pushed(PushStatus.CREATED)) == Pushed(PushStatus.EXISTS)
    duplicate = Pushed(PushStatus.DUPLICATE, "other")
    assert repeated(duplicate) is duplicate


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("rule", list(OnConflict))
def test_who_makes_room(state, rule):
    makes_room = state in (JobState.WAITING, JobState.SCHEDULED, JobState.QUEUED)
    changes = {
        OnConflict.REPLACE: PushStatus.REPLACED,
        OnConflict.RESCHEDULE: PushStatus.RESCHEDULED,
    }
    expected = changes.get(rule, PushStatus.DUPLICATE) if makes_room else PushStatus.DUPLICATE
    assert conflict(Unique(key="k", on_conflict=rule), state) is expected


def test_dependencies_fail_unless_they_succeeded():
    assert not dependency_failed(JobState.SUCCEEDED)
    assert dependency_failed(JobState.FAILED)
    assert dependency_failed(JobState.CANCELLED)
    assert dependency_failed(None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Lapse.SUSPECT),
        ({"closed": True}, Lapse.QUEUED),
        ({"started": True}, Lapse.SUSPECT),
        ({"started": True, "closed": True}, Lapse.SUSPECT),
        ({"started": True, "crashes": 2}, Lapse.FAILED),
        ({"crashes": 2}, Lapse.SUSPECT),
        ({"cancel_asked": True, "started": True, "crashes": 2}, Lapse.CANCELLED),
        ({"at_most_once": True, "cancel_asked": True}, Lapse.FAILED),
    ],
)
def test_where_a_lost_lease_leads(fields, expected):
    usual = {
        "at_most_once": False,
        "cancel_asked": False,
        "started": False,
        "crashes": 0,
        "max_crashes": 3,
    }
    assert lapse(Lost(**{**usual, **fields})) is expected


def test_only_the_last_attempts_are_remembered():
    attempts: tuple[Attempt, ...] = ()
    for number in range(1, 31):
        attempts = remember(attempts, Attempt(number=number, cause=Cause.ERROR))
    assert [one.number for one in attempts] == list(range(31 - ATTEMPTS_KEPT, 31))


# ------------------------------------------------------------ urls


def test_a_url_never_shows_its_password():
    url = Url("redis://user:p%40ss@host:6379/0?db=1")
    assert str(url) == "redis://user:***@host:6379/0?db=1"
    assert "p%40ss" not in repr(url)
    assert (url.scheme, url.user, url.password) == ("redis", "user", "p@ss")
    assert (url.host, url.port, url.path, url.query) == ("host", 6379, "/0", {"db": "1"})


def test_a_url_that_cannot_be_read_is_not_repeated():
    with pytest.raises(InvalidOption) as refused:
        Url("redis://user:secret@host:port/")
    assert "secret" not in str(refused.value)


# ------------------------------------------------------------ room


async def test_a_place_that_somebody_was_told_of_and_did_not_look_at_is_for_the_next():
    rooms: Rooms[Sleeper] = Rooms()
    first, second = (Sleeper(room=Room("mail", 1)) for _ in range(2))
    rooms.add(first)
    rooms.add(second)
    assert rooms.freed("mail", 1) == [first]
    # Told in the middle of a look: it stands in line again when it looks the next time.
    rooms.add(first)
    assert rooms.give_up(first) == [second]
    assert rooms.lines == {}


async def test_who_has_looked_in_vain_leaves_nothing_to_the_next():
    rooms: Rooms[Sleeper] = Rooms()
    first, second = (Sleeper(room=Room("mail", 1)) for _ in range(2))
    rooms.add(first)
    rooms.add(second)
    rooms.freed("mail", 1)
    first.seen = first.told
    rooms.add(first)
    assert rooms.give_up(first) == []
    assert rooms.everybody() == [second]


async def test_who_knows_that_there_is_no_room_wakes_nobody():
    rooms: Rooms[Sleeper] = Rooms()
    small, large = (Sleeper(room=Room("mail", bound)) for bound in (1, 5))
    rooms.add(small)
    rooms.add(large)
    assert rooms.freed("mail.acme", 1, lambda room: room.bound > 3) == [large]
    assert rooms.everybody() == [small]
