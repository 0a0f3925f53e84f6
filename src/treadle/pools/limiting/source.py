"""Which keeper counts for a set, and how other processes come to the same one."""

from __future__ import annotations

import os
import stat
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.clock import SystemClock
from treadle.errors import InvalidOption, NotOpen
from treadle.ids import SystemIds
from treadle.pools.limiting.keeper import Keeper, LocalKeeper
from treadle.pools.limiting.processes import Identity, is_alive, myself

if TYPE_CHECKING:
    from treadle.pools.limiting.shared import SharedKeeper

__all__ = ["Source", "opened", "region_path"]

_MEMORY = Path("/dev/shm")
_UNNAMED = "unnamed-"
_sources: weakref.WeakSet[Source] = weakref.WeakSet()
_sharing = threading.Lock()
_by_path: weakref.WeakValueDictionary[str, Source] = weakref.WeakValueDictionary()


class Source:
    """Who counts, for a set and for everything that shares it.

    Args:
        keeper: counts.
        region: the keeper, if processes share it.
    """

    def __init__(self, keeper: Keeper, region: SharedKeeper | None = None) -> None:
        self.keeper = keeper
        self._region = region
        _sources.add(self)

    @property
    def path(self) -> str | None:
        """The region, if processes share it."""
        return None if self._region is None else str(self._region.path)

    def share(self) -> str | None:
        """The region, made now if there is none, with all that was counted so far.

        ``None`` where a store counts, which other processes reach by an app of their own.

        It is gone with this process, or with the last set that uses it here.

        Raises:
            InvalidOption: the set has a clock of its own, which other processes do not have.
        """
        with _sharing:
            return self._shared()

    def _shared(self) -> str | None:
        if self.path is not None:
            return self.path
        local = self.keeper
        if not isinstance(local, LocalKeeper):
            return None
        if not isinstance(local.clock, SystemClock):
            raise InvalidOption(
                "limits with a clock of their own cannot be shared with other processes",
                option="clock",
                value=local.clock,
            )
        path = _unnamed()
        shared = _shared_keeper(path)
        local.move(shared.take_over)
        self.keeper = self._region = shared
        _keep(self, shared, remove=True)
        return str(path)

    def forget(self) -> None:
        """In a forked child."""
        if self._region is not None:
            self._region.forget()
        elif isinstance(self.keeper, LocalKeeper):
            self.keeper.forget()


def opened(path: Path, *, made: bool) -> Source:
    """The source of a region, one for each in this process.

    Args:
        path: the region.
        made: whether somebody else has made it, so that it must be there.

    Raises:
        NotOpen: it is gone with the process that made it.
        InvalidOption: it cannot be opened.
    """
    with _sharing:
        source = _by_path.get(str(path))
        if source is not None:
            return source
        if made and not path.exists():
            raise NotOpen(f"the limits in {path} have ended with the process that made them")
        shared = _shared_keeper(path)
        source = Source(shared, shared)
        _keep(source, shared, remove=False)
        return source


def _shared_keeper(path: Path) -> SharedKeeper:
    from treadle.pools.limiting.shared import SharedKeeper

    return SharedKeeper(path)


def _keep(source: Source, shared: SharedKeeper, *, remove: bool) -> None:
    _by_path[str(shared.path)] = source
    weakref.finalize(source, _end, shared, os.getpid() if remove else 0)


def _end(shared: SharedKeeper, maker: int) -> None:
    shared.close()
    if maker == os.getpid():
        with suppress(OSError):
            shared.path.unlink()


def region_path(shared: str | os.PathLike[str]) -> Path:
    """The file of a name, in the folder of this user; a path is itself.

    Raises:
        InvalidOption: not a name of letters, digits, ``.``, ``-`` and ``_``, and no path.
    """
    text = os.fspath(shared)
    if isinstance(shared, str) and os.sep not in text:
        if not text or not all(c.isalnum() or c in "._-" for c in text) or text.startswith("."):
            raise InvalidOption(
                f"shared={shared!r} has to be a name of letters, digits, '.', '-' and '_', or the "
                "path of a file",
                option="shared",
                value=shared,
            )
        return _folder() / f"named-{text}"
    return Path(text).absolute()


def _unnamed() -> Path:
    folder, me = _folder(), myself()
    for left in folder.glob(f"{_UNNAMED}*"):
        words = left.name.split("-")
        if not is_alive(Identity(int(words[1]), int(words[2]))):
            with suppress(OSError):
                left.unlink()
    nonce = SystemIds().nonce()
    return folder / f"{_UNNAMED}{me.pid}-{me.start}-{nonce:x}"


def _folder() -> Path:
    """Where the regions of this user are: in memory, and closed to others."""
    base = _MEMORY if os.access(_MEMORY, os.W_OK) else _temporary()
    user = os.geteuid()
    folder = base / f"treadle-{user}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.lstat()
    if stat.S_ISDIR(facts.st_mode) and facts.st_uid == user and not facts.st_mode & 0o077:
        return folder
    raise InvalidOption(
        f"shared: {folder} has to be a folder that only this user can read and write; remove it, "
        "or give the path of a file",
        option="shared",
        value=str(folder),
    )


def _temporary() -> Path:
    from tempfile import gettempdir

    return Path(gettempdir())


def _after_fork() -> None:
    global _sharing
    _sharing = threading.Lock()
    for source in list(_sources):
        source.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
