"""What can make the index or its sources unusable. Each message says what, where, and what to do."""

COMMAND = ".venv/bin/python -m indexer"  # in the project's folder, as `make` set it up: nothing has to be activated


class IndexUnavailable(Exception):
    """The index cannot be used. The dashboard shows the message; the command line ends with exit code 1."""


class IndexMissing(IndexUnavailable):
    """There is no index at the path yet."""


class IndexOlder(IndexUnavailable):
    """The index was written with an older schema than this program knows."""


class IndexNewer(IndexUnavailable):
    """The index was written with a newer schema than this program knows."""


class IndexAltered(IndexUnavailable):
    """The index went through other migrations than this program has. Only the writer looks."""


class IndexForeign(IndexUnavailable):
    """Something lies at the path that this program did not write. It is never touched."""


class IndexBroken(IndexUnavailable):
    """The index is there and ours, and cannot be opened: damaged, or held by another program."""


class IndexDamaged(IndexBroken):
    """The file itself is damaged: not what was written to it. The writer's next start sets it aside and begins anew.

    Attributes:
        reason: What was found.
    """

    def __init__(self, message: str, reason: str) -> None:
        """Tell the message for a person, and the reason alone."""
        super().__init__(message)
        self.reason = reason


class IndexUnwritable(IndexUnavailable):
    """The index cannot be written right now, for a reason outside of it: a full disk, a folder that is gone.

    What was committed is kept, and what was published stays readable. Trying again later may succeed: with the same
    `Database` while it `is_usable`, else with one opened anew.
    """


class AnotherIndexerRuns(Exception):
    """Another process writes this index; the message names it. Exit code 3."""


class SettingsInvalid(Exception):
    """The settings file or an environment variable says something that cannot be used. Exit code 2."""


class SourceUnusable(Exception):
    """OpenCode's storage cannot be read. Exit code 1."""


class BulkInterrupted(Exception):
    """A full pass did not end; whoever waited for it has nothing to go on with."""
