"""The bundled sample data gets into the cache folder whole, once, and nowhere else."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from indexer import sample


def _archive(path: Path, *members: tuple[str, bytes]) -> Path:
    """Write a small gzipped tar file."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_unpack_bundled_archive_holds_every_session(tmp_path: Path) -> None:
    """The real archive unpacks to the data folder that an OpenCode 1.1 wrote."""
    folder = sample.unpack(tmp_path / "cache")

    assert folder.name == "opencode"
    assert len(list(folder.glob("storage/session/*/*.json"))) == 114
    assert len(list(folder.glob("storage/message/*/*.json"))) == 672
    assert [path.name for path in folder.parent.iterdir()] == ["opencode"]


def test_unpack_bundled_archive_is_the_tested_data_set() -> None:
    """What a newcomer sees is what the tests prove exact."""
    tested = Path(__file__).parents[1] / "data" / sample.ARCHIVE.name

    assert hashlib.sha256(sample.ARCHIVE.read_bytes()).digest() == hashlib.sha256(tested.read_bytes()).digest()


def test_unpack_second_call_leaves_the_folder_alone(tmp_path: Path) -> None:
    """It is unpacked once."""
    archive = _archive(tmp_path / "a.tar.gz", ("opencode/storage/x.json", b"{}"))
    first = sample.unpack(tmp_path / "cache", archive)
    (first / "mark").touch()

    second = sample.unpack(tmp_path / "cache", archive)

    assert second == first
    assert (second / "mark").exists()


def test_unpack_other_archive_is_another_folder(tmp_path: Path) -> None:
    """A newer release's sample never mixes with an older one's files."""
    one = sample.unpack(tmp_path / "cache", _archive(tmp_path / "a.tar.gz", ("opencode/a", b"1")))
    two = sample.unpack(tmp_path / "cache", _archive(tmp_path / "b.tar.gz", ("opencode/b", b"2")))

    assert [path.name for path in one.iterdir()] == ["a"]
    assert [path.name for path in two.iterdir()] == ["b"]


@pytest.mark.parametrize("name", ["../outside", "/outside", "opencode/../../outside"])
def test_unpack_name_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    """A damaged archive writes nowhere else, and leaves nothing half done."""
    archive = _archive(tmp_path / "bad.tar.gz", ("opencode/good", b"1"), (name, b"2"))

    with pytest.raises(ValueError, match="unsafe name"):
        sample.unpack(tmp_path / "cache", archive)

    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_unpack_links_and_other_folders_are_left_out(tmp_path: Path) -> None:
    """Only regular files of the data folder are written."""
    path = _archive(tmp_path / "a.tar.gz", ("opencode/good", b"1"), ("cli/stats.txt", b"2"))
    plain = tmp_path / "links.tar.gz"
    with tarfile.open(path) as source, tarfile.open(plain, "w:gz") as tar:
        for member in source:
            tar.addfile(member, source.extractfile(member))
        link = tarfile.TarInfo("opencode/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)

    folder = sample.unpack(tmp_path / "cache", plain)

    assert sorted(path.relative_to(folder.parent).as_posix() for path in folder.parent.rglob("*")) == [
        "opencode",
        "opencode/good",
    ]


def test_unpack_without_data_folder_is_refused(tmp_path: Path) -> None:
    """An archive of something else is a mistake, not an empty sample."""
    with pytest.raises(ValueError, match="no folder opencode"):
        sample.unpack(tmp_path / "cache", _archive(tmp_path / "a.tar.gz", ("other/x", b"1")))


def test_unpack_two_starts_at_once_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower of two finds the folder in place and uses it."""
    archive = _archive(tmp_path / "a.tar.gz", ("opencode/a", b"1"))
    rename = os.rename

    def other_start_first(filled: Path, target: Path) -> None:
        """Let another start finish in the last moment."""
        (target / "opencode").mkdir(parents=True)
        rename(filled, target)

    monkeypatch.setattr(os, "rename", other_start_first)

    folder = sample.unpack(tmp_path / "cache", archive)

    assert folder.is_dir()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.parent.name]


def test_unpack_cache_that_cannot_be_written_raises(tmp_path: Path) -> None:
    """A file where the cache folder should be is told, not hidden."""
    (tmp_path / "cache").touch()

    with pytest.raises(FileExistsError):
        sample.unpack(tmp_path / "cache")
