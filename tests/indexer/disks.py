"""Disks that fail: full, small, read-only, another user's."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def no_room(file_bytes: int = 100) -> Iterator[None]:
    """Let this process write no file beyond some bytes: what a full disk is like, on every system with limits.

    Args:
        file_bytes: Up to where.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """Mount a small disk at a folder.

    Yields:
        Whether that is allowed here.
    """
    folder.mkdir()
    is_mounted = sys.platform == "linux" and _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder)
    try:
        yield is_mounted
    finally:
        if is_mounted:
            _run("umount", "-l", folder)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Let permissions bind: root gives its rights up for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def fill(folder: Path) -> Path:
    """Fill the disk of a folder to the last byte.

    Returns:
        The file that does it. Remove it to have room again.
    """
    file = folder / "filled"
    with file.open("wb", buffering=0) as out:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while out.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return file


def _run(*command: str | Path) -> bool:
    """Run a command of the system and say whether it worked."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
