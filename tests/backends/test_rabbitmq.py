"""RabbitMQ passes those cases of the suite of all backends that need no records.

The rest of the suite looks at jobs (``find``), moves the time of the store by hand, which is the
server's here, or asks for what a broker cannot serve; what is promised instead has tests of its own
in the files beside this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from tests.backends.rabbitmq_support import forget, unused
from treadle.backends.rabbitmq import connect
from treadle.ids import Ids
from treadle.testing import ManualClock
from treadle.testing.contract import (
    ClaimContract,
    Contract,
    EventsContract,
    FatesContract,
    LeasesContract,
    LoopsContract,
    Make,
    OrderContract,
    PushContract,
    RotationContract,
    SessionsContract,
    SettleContract,
    WaitContract,
)

pytestmark = pytest.mark.server

_C = TypeVar("_C", bound=type)


def only(*names: str) -> Callable[[_C], _C]:
    """Leave out all other cases of a class, and fail where one of these is missing."""

    def mark(suite: _C) -> _C:
        cases = {name for name in dir(suite) if name.startswith("test_")}
        assert set(names) <= cases, set(names) - cases
        for name in cases - set(names):
            setattr(suite, name, None)
        return suite

    return mark


class Rabbit(Contract):
    """A namespace of its own for each case."""

    @pytest.fixture
    def make(self, clock: ManualClock, ids: Ids, rabbitmq_url: str) -> Iterator[Make]:
        """Backends over one namespace of the server."""
        name = unused()
        yield lambda **options: connect(
            rabbitmq_url, clock=clock, ids=ids, namespace=name, **options
        )
        asyncio.run(forget(rabbitmq_url, name))


@only(
    "test_an_empty_store_answers_at_once",
    "test_a_job_is_granted_once",
    "test_the_fence_goes_up_with_every_grant",
    "test_more_says_that_jobs_were_left",
    "test_a_request_is_answered_again",
    "test_an_empty_answer_is_repeated_too",
    "test_a_repeated_answer_keeps_what_is_lost",
    "test_request_numbers_belong_to_a_session",
    "test_an_unknown_session_is_refused",
    "test_which_queues_a_name_covers",
)
class TestClaim(Rabbit, ClaimContract):
    pass


@only(
    "test_pushing_nothing",
    "test_one_id_twice_in_a_push",
    "test_the_longest_names",
)
class TestPush(Rabbit, PushContract):
    pass


@only(
    "test_equal_priorities_in_order_of_arrival",
    "test_a_larger_priority_is_sooner",
    "test_priority_then_arrival",
    "test_the_best_come_first_when_few_are_asked_for",
    "test_queues_in_the_order_given",
    "test_the_given_order_holds_for_families",
)
class TestOrder(Rabbit, OrderContract):
    pass


@only(
    "test_one_by_one_in_turns",
    "test_a_batch_is_shared",
    "test_what_is_left_goes_round_again",
    "test_each_round_shares_what_is_left",
    "test_the_named_queue_is_a_member_too",
    "test_the_star_rotates_over_all_queues",
    "test_the_turn_is_kept_in_the_store",
    "test_inside_a_member_priority_then_arrival",
    "test_many_members",
)
class TestRotation(Rabbit, RotationContract):
    pass


@only(
    "test_settling_nothing",
    "test_a_release_without_reason_is_not_counted",
    "test_any_other_verdict_takes_it_back_in",
)
class TestSettle(Rabbit, SettleContract):
    pass


@only(
    "test_renewals_are_answered_in_order",
    "test_extend_of_nothing",
    "test_tokens_of_unknown_jobs",
)
class TestLeases(Rabbit, LeasesContract):
    pass


@only(
    "test_a_crash_that_is_followed_by_another_attempt",
    "test_the_last_crash",
    "test_a_session_that_is_closed",
)
class TestFates(Rabbit, FatesContract):
    pass


@only(
    "test_nonces_tell_sessions_apart",
    "test_the_store_stamps_a_session",
    "test_a_claim_of_a_closed_session_is_refused",
    "test_closing_twice_is_harmless",
)
class TestSessions(Rabbit, SessionsContract):
    pass


@only(
    "test_it_ends_with_its_timeout",
    "test_no_time_at_all",
    "test_what_is_there_already",
    "test_a_push_wakes",
    "test_it_waits_for_what_the_claim_would_find",
    "test_a_cancelled_wait_leaves_nothing",
)
class TestWait(Rabbit, WaitContract):
    pass


@only(
    "test_a_subscriber_is_told",
    "test_only_what_matches",
    "test_every_subscriber_is_told",
    "test_nobody_listens",
)
class TestEvents(Rabbit, EventsContract):
    pass


@only(
    "test_two_loops_in_two_threads",
    "test_a_push_in_a_thread_wakes_this_loop",
    "test_run_twice",
    "test_a_loop_that_did_not_close_its_client",
    "test_a_push_of_another_handle_wakes",
)
class TestLoops(Rabbit, LoopsContract):
    pass
