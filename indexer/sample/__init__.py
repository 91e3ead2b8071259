"""The bundled sample data, and how it gets into the cache folder."""

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

ARCHIVE = Path(__file__).with_name("opencode-1.1-json-A.tar.gz")
CONFIGURATION = Path(__file__).with_name("opencode.json")  # the prices of its made-up models
DATA_FOLDER = "opencode"


def unpack(cache_dir: Path, archive: Path = ARCHIVE) -> Path:
    """Unpack the data folder of the sample, once.

    The folder appears whole or not at all: it is filled under another name first, so a stop halfway, or two starts at
    once, leave nothing half done. Its name holds the archive's hash, so another release's sample is another folder.

    Args:
        cache_dir: Where to put it; made if need be.
        archive: A gzipped tar file with a folder `opencode/`. What lies outside that folder is left out.

    Returns:
        The OpenCode data folder.

    Raises:
        ValueError: The archive holds a name that would leave the folder, or no data folder at all.
    """
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:12]
    target = cache_dir / f"sample-{digest}"
    if not target.is_dir():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".sample-", dir=cache_dir) as scratch:
            filled = Path(scratch) / target.name
            _extract(archive, filled)
            _put_in_place(filled, target)
    return target / DATA_FOLDER


def _extract(archive: Path, target: Path) -> None:
    """Write the regular files of the data folder below `target`; links and devices are left out.

    By hand, because tarfile's own safe filter is missing in Python 3.11.0 to 3.11.3.
    """
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts:
                raise ValueError(f"{archive} holds the unsafe name {member.name!r}")
            content = tar.extractfile(member) if member.isreg() and name.parts[0] == DATA_FOLDER else None
            if content is not None:
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with content, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
    if not (target / DATA_FOLDER).is_dir():
        raise ValueError(f"{archive} holds no folder {DATA_FOLDER}/")


def _put_in_place(filled: Path, target: Path) -> None:
    """Rename the filled folder, unless another start was faster."""
    try:
        os.rename(filled, target)
    except OSError:
        if not target.is_dir():
            raise
