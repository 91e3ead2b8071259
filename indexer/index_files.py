"""Where the files of an index lie, and what tells that one was written."""

from pathlib import Path


def absolute(path: Path) -> Path:
    """Make a path absolute, without following the link that the published index is."""
    return path.expanduser().parent.resolve() / path.name


def private_folder(path: Path) -> Path:
    """Return the folder beside the index that holds its working file and revisions."""
    return path.with_name(path.name + ".d")


def is_own_copy(path: Path) -> bool:
    """Say whether a regular file at FILE is our publisher's last full copy (where links are refused)."""
    mark = private_folder(path) / "copied"
    return mark.is_file() and mark.read_text(encoding="ascii") == file_stamp(path)


def file_stamp(path: Path) -> str:
    """Return what changes whenever a file is written: its size and modification time."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def inode_stamp(path: Path) -> str:
    """Return what changes whenever a file is written, or replaced by another one."""
    return f"{path.stat().st_ino} {file_stamp(path)}"


def size_of(file: Path) -> int:
    """Return the size of a file; 0 if there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
