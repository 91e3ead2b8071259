"""What can make the index or its sources unusable. Each message says what, where, and what to do."""


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


class AnotherIndexerRuns(Exception):
    """Another process writes this index; the message names it. Exit code 3."""


class SourceUnusable(Exception):
    """OpenCode's storage cannot be read. Exit code 1."""
