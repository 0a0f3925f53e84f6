"""What a check of the ledgers gives."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Figures", "Findings", "Rule", "Violation"]


class Rule(StrEnum):
    """What must hold, whatever is done to the processes."""

    CONSERVATION = "conservation"  # an accepted job is in the store once, and has ended
    NO_RUN_AFTER_END = "no run after the end"
    ONE_WINNER = "one winner"  # one lease ends the job, and it is the latest
    FENCES_GROW = "fences grow"  # a fence is given once and starts once
    NO_UNEXPLAINED_REPEAT = "no unexplained repeat"  # each lease lost has its fault
    BOUNDED_RECOVERY = "bounded recovery"  # what a fault interrupts goes on in time
    MUTUAL_EXCLUSION = "mutual exclusion"  # keys, slots, guarded resources
    UNIQUENESS = "uniqueness"  # one live job for each unique key
    LIMITS_HOLD = "limits hold"  # of rates
    LIVENESS = "liveness"  # something always ends
    NO_RESIDUE = "no residue"  # no presence, no leases left behind
    OTHERS_UNHARMED = "others unharmed"  # no crash is counted that no fault explains
    SAID_ALOUD = "said aloud"  # what is refused, or ends by itself, is told to observers


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that was broken, and how."""

    rule: Rule
    # A sentence for people, with the job, the fence and the process.
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledgers counted."""

    accepted: int
    # Accepted jobs with a final state in the store.
    ended: int
    effects: int
    # Effects beyond the first of a job, other than of attempts that were to be repeated.
    repeats: int
    kills: int
    # Kills and freezes of a process that had started a job and had no answer to its verdict.
    kills_with_work: int
    freezes: int
    freezes_with_work: int
    # Verdicts that the store refused.
    refused: int
    # Leases lost for no other reason than that the store answered late.
    slow: int
    # Seconds from a fault to the next lease of a job that it interrupted, at the longest.
    recovery: float
    # Seconds in which nothing ended, at the longest.
    standstill: float


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Violations and figures."""

    violations: tuple[Violation, ...]
    figures: Figures

    def report(self, most: int = 50) -> str:
        """All of it as text, for the message of an assertion."""
        lines = [str(one) for one in self.violations[:most]]
        if len(self.violations) > most:
            lines.append(f"and {len(self.violations) - most} more")
        facts = msgspec.structs.asdict(self.figures)
        lines.append(", ".join(f"{name} {_short(value)}" for name, value in facts.items()))
        return "\n".join(lines)


def _short(value: int | float) -> str:  # noqa: PYI041 - the two look different
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
