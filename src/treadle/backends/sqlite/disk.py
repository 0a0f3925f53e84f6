"""The file under the database: where it may lie, who may read it, and space kept in reserve."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from treadle.errors import BackendFull, BackendReadOnly, BackendUnavailable, SchemaMismatch

__all__ = ["SIBLINGS", "Ballast", "Identity", "file_system", "moved", "prepare", "too_open"]

_REMOTE = re.compile(
    r"nfs|cifs|smb|9p$|afs$|ceph|lustre|gpfs|beegfs|glusterfs|ocfs2"
    r"|fuse\.(sshfs|s3fs|rclone|gcsfuse|glusterfs|davfs|curlftpfs|goofys|juicefs)"
)
_MOUNTS = "/proc/self/mounts"
# Where a system has no such flag, it has no such links either.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_MAGIC = b"SQLite format 3\x00"


def file_system(path: str, mounts: str = _MOUNTS) -> str:
    """The type of the file system that holds ``path``; empty where it cannot be told."""
    try:
        with Path(mounts).open(encoding="utf-8", errors="surrogateescape") as lines:
            entries = [line.split(" ")[1:3] for line in lines]
    except OSError:
        return ""
    real = str(Path(path).resolve())
    best, kind = "", ""
    for entry in entries:
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), entry[0])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        # The latest of several mounts on one point is the one that is seen.
        if inside and len(point) >= len(best):
            best, kind = point, entry[1]
    return kind


def prepare(path: str, mounts: str = _MOUNTS) -> None:
    """Check the place and make an empty file, readable by its owner only, when there is none."""
    directory = str(Path(path).parent)
    if not Path(directory).is_dir():
        raise BackendUnavailable(
            f"the directory {directory!r} does not exist; make it, or correct the url",
            backend=path,
        )
    if Path(path).is_dir():
        raise BackendUnavailable(f"{path!r} is a directory, not a database file", backend=path)
    kind = file_system(directory, mounts)
    if _REMOTE.match(kind):
        raise BackendUnavailable(
            f"{path!r} lies on a network file system ({kind}), where SQLite's locks and shared "
            "memory do not hold and jobs would be lost. Use a local disk, or redis:// or "
            "postgresql:// for several machines.",
            backend=path,
        )
    _check_siblings(path)
    _create(path)


SIBLINGS = ("-wal", "-shm", "-journal", "-lock", "-ballast", "-wake")
"""What lies beside the database, made by SQLite and by us."""


def _check_siblings(path: str) -> None:
    """Refuse links beside the database: whoever planted one chooses what we write to."""
    for suffix in SIBLINGS:
        beside = Path(path + suffix)
        if beside.is_symlink():
            raise BackendUnavailable(
                f"{str(beside)!r} is a symbolic link: what is written there would go elsewhere; "
                "remove it, and keep the database where no one else can write",
                backend=path,
            )


def too_open(path: str) -> list[str]:
    """What other users of the machine may do with the database, in words; nothing is well."""
    found: list[str] = []
    for one in (Path(path), *(Path(path + suffix) for suffix in SIBLINGS)):
        try:
            mode = one.lstat().st_mode
        except OSError:
            continue
        if mode & 0o022:
            found.append(f"others can write {one.name}")
        elif mode & 0o044:
            found.append(f"others can read {one.name}")
    directory = Path(path).parent
    if directory.stat().st_mode & 0o022:
        found.append(f"others can put files into {str(directory)!r}")
    return found


def _create(path: str) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        _check(path)
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise BackendFull(f"no space to make {path!r}", backend=path) from error
        raise BackendReadOnly(
            f"{path!r} cannot be made: {error.strerror}. The directory must be writable.",
            backend=path,
        ) from error


def _check(path: str) -> None:
    """Refuse what cannot be used, before SQLite changes anything.

    Nothing is opened here: closing any descriptor of a database file would drop the locks that
    SQLite holds on it in this process.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise SchemaMismatch(f"{path!r} is not a regular file", backend=path)
    if not os.access(path, os.W_OK) or not os.access(Path(path).parent, os.W_OK):
        raise BackendReadOnly(
            f"{path!r} or its directory cannot be written by this user; SQLite needs both",
            backend=path,
        )


class Identity:
    """Tells whether a path still leads to the file that was opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = Path(path)
        self._was = self._now()

    def _now(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def check(self) -> None:
        """Raise when the file was removed or another one put in its place."""
        now = self._now()
        if now == self._was:
            return
        what = "was removed" if now is None else "was replaced by another file"
        raise moved(self._path, what)


class Ballast:
    """A file of a megabyte beside the database, given up when the disk is full.

    A full disk refuses even the update that ends a job. The space of the ballast lets the jobs
    that run end in good order; new ones are refused until there is space again.
    """

    SIZE = 1 << 20

    def __init__(self, path: str) -> None:
        self.path = path + "-ballast"

    def lay(self) -> bool:
        """Have it on the disk; False when there is no space for it."""
        try:
            if Path(self.path).stat().st_size >= self.SIZE:
                return True
        except OSError:
            pass
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_WRONLY | _NO_LINK, 0o600)
        except OSError:
            return False
        try:
            # Written, not sparse: a hole would hold no space.
            done = os.write(handle, bytes(self.SIZE)) == self.SIZE
        except OSError:
            done = False
        finally:
            os.close(handle)
        if not done:
            self.drop()
        return done

    def drop(self) -> None:
        """Give the space back."""
        with contextlib.suppress(OSError):
            Path(self.path).unlink()


def moved(path: str, what: str) -> BackendUnavailable:
    """The error for a file that is not the one that was opened."""
    return BackendUnavailable(
        f"{path!r} {what} while it was open. Put it back, or restart to begin with what is there "
        "now.",
        backend=path,
    )
