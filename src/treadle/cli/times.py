"""Times and durations, for people and for programs."""

from __future__ import annotations

from treadle.durations import moment

__all__ = ["ago", "iso", "lasted", "local", "short", "zone"]


def iso(timestamp: float | None) -> str | None:
    """A time for programs: ISO 8601, UTC, milliseconds."""
    if timestamp is None:
        return None
    at = moment(timestamp)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(timestamp: float | None) -> str:
    """A time for people: local, with its zone."""
    if timestamp is None:
        return ""
    return moment(timestamp).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def short(timestamp: float | None, now: float) -> str:
    """A local time for a narrow column whose heading names the zone: today without the date."""
    if timestamp is None:
        return ""
    at = moment(timestamp).astimezone()
    today = moment(now).astimezone()
    if at.date() == today.date():
        return at.strftime("%H:%M:%S")
    return at.strftime("%m-%d %H:%M" if at.year == today.year else "%Y-%m-%d")


def zone(now: float) -> str:
    """The name of the local time zone."""
    return moment(now).astimezone().strftime("%Z")


def lasted(seconds: float) -> str:
    """A duration for people: ``850 ms``, ``12.3 s``, ``4 min 05 s``, ``3 h 20 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} days {hours % 24} h"


def ago(timestamp: float, now: float) -> str:
    """A time as its distance from now."""
    distance = lasted(abs(now - timestamp))
    return f"{distance} ago" if timestamp <= now else f"in {distance}"
