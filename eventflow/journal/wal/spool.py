"""The spool: the files in which the segments of an owner survive its process.

They are in the owner's folder, `segment-<number>`, in the order of their numbers. A file reserves
its space when it is made, so that a disk that becomes full is noticed then, and not at an append.
One that is committed is kept, and used again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from mmap import mmap
from pathlib import Path
from typing import Final

from eventflow.journal.contract import Group, UnstorableError
from eventflow.journal.records import content_of, scan
from eventflow.journal.wal.beginnings import left
from eventflow.journal.wal.segments import COMMITTED, HEAD, MAGIC, Segment
from eventflow.primitives.loggers import get_logger
from eventflow.primitives.private_files import open_file

__all__ = [
    "SEGMENT_BYTES",
    "Spool",
    "commit_in_parts",
    "described",
    "has_records",
    "read_segments",
]

SEGMENT_BYTES: Final = 4 * 2**20
"""The size of a segment, unless a single record is larger."""

SPOOL_BYTES: Final = 2**30
"""How many bytes the segments that wait for the journal may have in all."""

DEVICE: Final = "a device"
"""The file system of a device, where the system does not say which."""

MAPPABLE: Final = frozenset({"ext2", "ext3", "ext4", "overlay", "tmpfs", "xfs", DEVICE})
"""The file systems on which space that was reserved can be written, whatever happens.

Others take new space for each change of a block, or ask another host.
"""

_PREFIX: Final = "segment-"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Spool:
    """The files of the owner that this process is, in a folder that must exist.

    `limit` is how many bytes the files may have together. Not thread-safe: the caller holds the
    lock of the writer. A lock of its own could deadlock with that, by way of a finalizer.
    """

    def __init__(
        self, folder: Path, *, limit: int = SPOOL_BYTES, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.folder = folder
        self._limit = limit
        self._segment_bytes = segment_bytes
        self._size = self._newest = 0
        self._spare: Segment | None = None
        # Whether files can be mapped here; None before the first.
        self._maps: bool | None = None

    def take(self, size: int) -> Segment:
        """Return a segment without records that has room for so many bytes of them.

        Raises:
            OSError: there is no room for it, or the folder cannot be written.
        """
        spare, self._spare = self._spare, None
        if spare is not None:
            if HEAD + size <= len(spare.data) and spare.links_and_size()[0]:
                return spare
            # Its number is lower than that of the next one.
            self._delete(spare)

        return self._make(max(self._segment_bytes, HEAD + size))

    def give_back(self, segment: Segment, *, keep: bool = True) -> None:
        """Keep a segment of which all is committed for later, if it is cleared; else delete it."""
        # Where a publisher may still store, no other record may come to this place.
        keep = keep and segment.mapped and not segment.late and self._spare is None
        if not keep or len(segment.data) != self._segment_bytes or segment.path is None:
            self._delete(segment)
            return
        number, path = self._next()
        try:
            # In this order: whenever this process dies, nothing is committed twice.
            segment.begin(number)
            segment.path.rename(path)
        except OSError:
            self._delete(segment)
        else:
            segment.path, self._spare = path, segment

    def save(self, segment: Segment) -> None:
        """Write a segment that is in memory only to a file.

        Raises:
            OSError: not all of it could be written.
        """
        if segment.fd < 0:
            # It makes room, and would come after this one with a lower number.
            self.close()
            segment.number, segment.path, segment.fd = self._open(len(segment.data))
        segment.store()

    def close(self) -> None:
        """Delete what is kept for later."""
        spare, self._spare = self._spare, None
        if spare is not None:
            self._delete(spare)

    def leave(self) -> None:
        """Leave all files to the parent of this forked child."""
        if self._spare is not None:
            self._spare.detach()

    # -- making files -----------------------------------------------------------------------

    def _make(self, size: int) -> Segment:
        number, path, fd = self._open(size)
        try:
            data = self._map(fd, size)
        except BaseException:
            self._size -= size
            with suppress(OSError):
                path.unlink()
            os.close(fd)
            raise

        return Segment(number, bytearray(size) if data is None else data, fd=fd, path=path)

    def _open(self, size: int) -> tuple[int, Path, int]:
        if self._size + size > self._limit:
            raise OSError(errno.ENOSPC, f"{self._size} bytes wait for the journal already")
        while True:
            number, path = self._next()
            with suppress(FileExistsError):
                fd = open_file(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
                break
        self._size += size

        return number, path, fd

    def _next(self) -> tuple[int, Path]:
        if self._newest == 0:
            self._newest = max((number for number, _ in _files(self.folder)), default=0)
        self._newest = number = self._newest + 1

        return number, self.folder / f"{_PREFIX}{number}"

    def _map(self, fd: int, size: int) -> mmap | None:
        """Reserve the space of a file and map it; return None where that is not possible."""
        reason = ""
        if self._maps is None:
            kind = _file_system(self.folder)
            if not kind and os.major(self.folder.stat().st_dev) > 0:
                # In a root of its own a process may not be told. What is no device has no number.
                kind = DEVICE
            self._maps = kind in MAPPABLE and hasattr(os, "posix_fallocate")
            reason = f"a file system of this type ({kind or 'unknown'}) may not reserve space"
        if self._maps:
            try:
                os.posix_fallocate(fd, 0, size)
                return mmap(fd, size)
            except (OSError, ValueError) as error:
                if getattr(error, "errno", None) in _FULL:
                    raise
                self._maps, reason = False, str(error)
        if reason:
            _log_writing(reason)

        return None

    def _delete(self, segment: Segment) -> None:
        if segment.path is not None:
            self._size -= len(segment.data)
        segment.close(delete=True)


@lru_cache(maxsize=16)
def _log_writing(reason: str) -> None:
    get_logger("journal").debug(
        f"The journal's segments are written instead of mapped, which is slower: {reason}."
    )


def _file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on; empty if the system does not say."""
    best, kind = "", ""
    path = os.path.realpath(folder) + "/"
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
            words = [_unescaped(word) for word in line.split()]
            point = words[4].rstrip("/") + "/"
            # Of several at the same place the last one hides the others.
            if path.startswith(point) and len(point) >= len(best):
                best, kind = point, words[words.index("-") + 1]

    return kind


def _unescaped(word: bytes) -> str:
    r"""Return a word of the list of mounts, in which a space, for example, is `\040`."""
    return os.fsdecode(word.decode("unicode_escape").encode("latin-1"))


# -- what is in files ----------------------------------------------------------------------------


def read_segments(folder: Path) -> Iterator[Group]:
    """Yield what a dead owner left in its folder, oldest first, a group for each file.

    When the next one is asked for, the last is committed, and its file is deleted. Whatever is
    whole in a file is read: what was never finished is left out, as nothing was begun because of
    it.

    Raises:
        OSError: the folder or a file cannot be read; the other files were read before.
    """
    _name_old_files(folder)
    failed: OSError | None = None
    for _, path in sorted(_files(folder)):
        try:
            group = left(_uncommitted(path))
        except OSError as error:
            failed = failed or error
            continue
        if group.data:
            yield group
        path.unlink(missing_ok=True)
    if failed is not None:
        raise failed


def peek_segments(folder: Path) -> Iterator[Group]:
    """Yield what a living owner has in its folder that may not be committed yet, oldest first.

    It is left there: the owner commits it as well.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    for _, path in sorted(_files(folder)):
        with suppress(FileNotFoundError):
            group = left(_uncommitted(path))
            if group.data:
                yield group


def has_records(folder: Path) -> bool:
    """Return whether a folder has records that are not committed, or a file that cannot be read.

    Raises:
        OSError: the folder cannot be read.
    """
    for _, path in _files(folder):
        try:
            if next(scan(_uncommitted(path)), None):
                return True
        except FileNotFoundError:
            continue
        except OSError:
            return True

    return False


def described(folder: Path) -> str:
    """Return the description of the owner that its segments begin with; empty if there is none.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    for _, path in sorted(_files(folder)):
        data = path.read_bytes().rstrip(b"\0")
        # Committed or not: it is there as long as the file.
        for record in scan(data, HEAD):
            if record.kind == "O":
                return str(content_of(data, record))

    return ""


def commit_in_parts(
    group: Group,
    commit: Callable[[Group], None],
    on_unstorable: Callable[[UnstorableError], object],
) -> None:
    """Commit a group; a record that cannot be stored is found by halving, and left out.

    `on_unstorable` is called for each of these. Any other error of `commit` is raised.
    """
    try:
        commit(group)
    except UnstorableError as error:
        records = list(scan(group.data))
        if len(records) < 2:  # noqa: PLR2004 - it cannot be halved
            on_unstorable(error)
            return
        middle = records[len(records) // 2].start
        for part in (group.data[:middle], group.data[middle:]):
            commit_in_parts(Group.read(part), commit, on_unstorable)


def _uncommitted(path: Path) -> bytes:
    """Return what comes after the committed records of a file."""
    # Behind the last record there are only zeros, and none ends with one.
    data = path.read_bytes().rstrip(b"\0").ljust(HEAD, b"\0")
    # Whoever was killed while it wrote the first line has not ended it.
    if data.startswith(MAGIC[:-2]) and b"\n" in data[:COMMITTED] and not data.startswith(MAGIC):
        raise OSError(errno.EINVAL, f"{path} was written by a newer eventflow; upgrade this one")
    return data[_committed(data) :]


def _committed(data: bytes) -> int:
    """Return up to where the records of a file are committed.

    Where the head cannot be right, after a loss of power, or because it was not written as a whole,
    all records are committed again: that changes nothing.
    """
    committed = int.from_bytes(data[COMMITTED : COMMITTED + 8], "big")
    if not data.startswith(MAGIC):
        return HEAD
    following = next(scan(data, committed), None)
    if following is not None and following.start == committed:
        return committed

    return committed if committed in {record.end for record in scan(data, HEAD)} else HEAD


def _files(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir():
        number = path.name[len(_PREFIX) :]
        if path.name.startswith(_PREFIX) and number.isdecimal():
            yield int(number), path


def _name_old_files(folder: Path) -> None:
    if any(folder.glob("spool-*.jsonl")):
        get_logger("recovery").warning(
            f"The files spool-*.jsonl in {folder} are of an eventflow before this one, which does "
            "not read them. They were left; delete them if nobody needs them."
        )
