"""File systems: which are on another machine, where locks and caches promise less; what is ours, and on the disk."""

from __future__ import annotations

import os
import re
from typing import Final

__all__ = ["is_ours", "network_type", "sync"]

_MOUNTS: Final = "/proc/self/mountinfo"
_NETWORK: Final = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
        "virtiofs",
        "wekafs",
    }
)


def network_type(path: str, mounts: str = _MOUNTS) -> str | None:
    """The type of the network file system that `path` is on; None for a local one, and where the system does not say.

    Args:
        path: A file or directory; it need not exist.
        mounts: Where the kernel lists what is mounted, as in proc_pid_mountinfo(5).
    """
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            lines = file.read().splitlines()
    except OSError:
        return None
    real = os.path.realpath(path) + "/"
    best, found = "", None
    for line in lines:
        mount, _, source = line.partition(" - ")
        fields, kind = mount.split(" "), source.partition(" ")[0]
        if len(fields) < 5 or not kind:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]).rstrip("/") + "/"
        if real.startswith(point) and len(point) >= len(best):  # the last of several mounted on one place is seen
            best, found = point, kind
    return found if found in _NETWORK else None


def is_ours(directory: str) -> bool:
    """Whether a directory belongs to this user, who can write there."""
    try:
        return os.stat(directory).st_uid == os.geteuid() and os.access(directory, os.W_OK)  # noqa: PTH116
    except OSError:
        return False


def sync(path: str) -> None:
    """Wait until a file, or the names in a directory, are on the disk.

    Raises:
        OSError: it cannot be told whether they are.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
