"""What stands in a spool, and what time has made of it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

from treadle.config import mask
from treadle.ports import Feature
from treadle.records import At, In, NewJob

__all__ = ["Entry", "Place", "aged", "known_for", "place_of", "served"]

_LOCAL = ("memory:", "sqlite:")


class Place(msgspec.Struct, frozen=True):
    """Where jobs are to be forwarded: several apps may share a spool."""

    # Without secrets and options, which may change while jobs wait.
    url: str
    namespace: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a spool."""

    # Its place in the line.
    number: int
    id: str
    task: str
    queue: str
    url: str
    namespace: str
    # When it was enqueued, by the clock of this machine.
    at: float
    # When it was first sent to the store without an answer; ``None`` when it never was.
    sent: float | None
    # Why the store refused it; empty while it waits.
    reason: str


def served(url: str) -> bool:
    """Whether the jobs of a URL live in a server, which can be away."""
    return not url.startswith(_LOCAL)


def place_of(url: str, namespace: str) -> Place:
    """Where jobs for a URL are to be forwarded."""
    return Place(mask(url).partition("?")[0], namespace)


def aged(job: NewJob, waited: float) -> NewJob:
    """The job with its relative times counted from its enqueue, not from when it is forwarded."""
    if not isinstance(job.due, In) and not isinstance(job.expires, In):
        return job
    return msgspec.structs.replace(
        job, due=_sooner(job.due, waited), expires=_sooner(job.expires, waited)
    )


def _sooner(when: In | At | None, waited: float) -> In | At | None:
    return In(max(0.0, when.seconds - max(0.0, waited))) if isinstance(when, In) else when


def known_for(job: NewJob, features: AbstractSet[Feature], request_ttl: float) -> float:
    """Seconds after its push for which a store is sure to know a job again; ``inf`` is for ever.

    Its record is kept until it has ended and for some time more; its tombstone for
    ``request_ttl`` after that. A store without records knows none again: what may run twice may
    also be there twice, as after any push whose reply was lost.
    """
    if Feature.RECORDS not in features:
        return 0.0 if job.at_most_once else float("inf")
    kept = [job.keep.succeeded, job.keep.failed, job.keep.cancelled]
    return request_ttl + min((one for one in kept if one is not None), default=float("inf"))
