"""A report as Markdown: a table for each part, the sizes side by side, each figure with floor, ratio and verdict."""

from collections.abc import Iterable, Sequence

from tests.bench.figures import Figure, Report, growth

SIZES = ("S", "M", "L")
_INTRO = """# Benchmarks

Made by `make bench SIZES=S,M,L` from the JSON file of the same name, which holds every figure: do not edit. The
storages are generated (`tests/corpus`): S has 2,000 parts, M 150,000 (900 sessions, as a tree 190,000 files and about
1 GB), L 1,000,000. Every process that is measured is a real one (`python -m indexer ...`, the dashboard's server,
Chromium). Every figure is the median of its samples unless it says otherwise, and what it is held against was measured
in the same run: `x` is the ratio to that floor. M → L is the exponent of growth with the number of parts: 0 is none, 1
as fast as the parts. What the missed figures are made of, and how machines differ:
[architecture.md](architecture.md#what-limits-the-speed).
"""
# Part -> its title, and what a reader must know to trust it.
_PARTS = {
    "load": (
        "First index",
        "`python -m indexer bulk`, from the start of the process to its end, against Python that reads every file or "
        "row, without and with `orjson.loads`; the floor's start and the search for its files are not counted. Floors "
        "and passes alternate. Cold: all files of the storage were taken out of the file cache by `posix_fadvise` "
        "(names and inodes stay in it); the last line says how much of the storage the next reader then fetched from "
        "the disk, by `/proc/self/io`. Target of the tree: 4x, or 6x if memory stayed under 600 MB.",
    ),
    "restart": (
        "Restart",
        "`python -m indexer run` on an index that is up to date, until the revision is published that says real-time. "
        "Nothing is subtracted: the start of Python is in it.",
    ),
    "change": (
        "One changed message",
        "20 answers, one after the other, half a second between them: processor time of the indexer a change (user and "
        "system, all threads, pauses included), and from the write until a reader has the new cost.",
    ),
    "live": (
        "Ten documents a second",
        "While one reader asks without pause; a second process only looks for new rows and tells when they are there.",
    ),
    "statements": (
        "Statements of the pages",
        "In the running dashboard, while ten documents a second arrive, all time in range, the timeline of the longest "
        "session. Each visit pins a new revision, so each statement is the first on it; the floor is the same "
        "statement once more right after, on the same revision. Execution and fetch; a query may have several.",
    ),
    "pages": (
        "Opening a page",
        "Each page is opened by its address twice after one new document: once on the new revision, with nothing "
        "cached, and once more. That begins a session in the server, whose first run of the whole script shares the "
        "processor with a browser that is just loading its own scripts: it is shown, but the target for a run is that "
        "of reruns, below. Processor is that of the whole server meanwhile. Paint is seconds from the start of the "
        "navigation in a browser that knows the scripts: the browser's own first contentful paint, the first frame "
        "with the heading of the page, and everything drawn.",
    ),
    "reruns": (
        "Reruns in the open tab",
        "A rerun is a run of the whole script in the server for a tab that has drawn everything and is at rest; "
        "processor is that of the whole server meanwhile. Same revision: by the key `r`, with all answers cached. New "
        "revision: after one new document, by the button Refresh that the page offers for it, or by itself where the "
        "page follows (Overview); what opens the revision runs before and is not counted, and what was offered was "
        "asked ahead in the background, as far as it had come to that. Where the pieces of a page follow each on its "
        "own and no whole run has to (Timeline, Indexer), `r` is pressed some ten seconds after the publication: what "
        "the pieces have asked by then is cached. First with a filter: one agent is chosen, the one with most "
        "messages, for the first time on that revision, so that nothing of it is cached.",
    ),
    "search": (
        "Text search",
        "On the open page Sessions, over all time, a word is typed into the search box: the statements that look for "
        "it, together, with those that run at the same time counted once. First on a new revision: right after the "
        "page was refreshed, before any text of that revision was read. Same revision: after another word was looked "
        "for on it. No word is looked for twice on a revision.",
    ),
    "idle": ("Idle", "The indexer on an index that is up to date, after it has settled."),
    "compute": ("Extraction and deriving", "In one process, on the tree of S. An exchange or trace may take 1 ms."),
}


def markdown(report: Report) -> str:
    """Write a report as Markdown."""
    parts = [part for part in _PARTS if any(figure.part == part for figure in report.figures)]
    dates = sorted({figure.date for figure in report.figures})
    machine = "; ".join(f"{name} {text}" for name, text in report.machine.items())
    lines = [_INTRO, f"Measured {' to '.join(dates[:: max(len(dates) - 1, 1)])}. {machine}.", ""]
    lines += _summary(report.figures)
    for part in parts:
        title, words = _PARTS[part]
        figures = [figure for figure in report.figures if figure.part == part]
        lines += ["", f"## {title}", "", f"{words} {_samples(figures)}", ""]
        lines += _pages_tables(figures) if figures[0].subject else _sizes_table(figures)
    return "\n".join(lines) + "\n"


def amount(value: float, unit: str) -> str:
    """Write a value with three significant digits at least."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f} {unit}"


def cell(figure: Figure) -> str:
    """Write a figure: value, ratio and floor, whose it is, whether its target is met."""
    words = [amount(figure.value, figure.unit)]
    if figure.floor is not None and figure.ratio is not None:
        words.append(f"{figure.ratio:.1f}x of {amount(figure.floor, figure.unit)}")
    if figure.note:
        words.append(figure.note)
    if figure.is_met is not None:
        words.append("met" if figure.is_met else "**missed**")
    return ", ".join(words)


def promise(figures: Iterable[Figure]) -> str:
    """Write the targets of some figures, each once."""
    words = []
    for figure in figures:
        if figure.target is not None:
            limit = f"{figure.target.limit:,g}{'x the floor' if figure.target.is_ratio else f' {figure.unit}'}"
            only = "" if figure.target.sizes == SIZES else f" ({', '.join(figure.target.sizes)})"
            words.append(f"under {limit}{only}")
    return "; ".join(dict.fromkeys(words))


def _summary(figures: Sequence[Figure]) -> list[str]:
    """Count what is met, and name what is missed; figures of pages in one line."""
    judged = [figure for figure in figures if figure.is_met is not None]
    missed: dict[str, list[Figure]] = {}
    for figure in judged:
        if not figure.is_met:
            title, _ = _PARTS[figure.part]
            what = f"{title}, {figure.name}, {figure.size} {figure.storage} ({promise([figure])})"
            missed.setdefault(what, []).append(figure)
    met = len(judged) - sum(map(len, missed.values()))
    lines = [f"{met} of {len(judged)} figures with a target meet it{'; these do not:' if missed else '.'}"]
    if missed:
        lines.append("")
    for what, found in missed.items():
        values = [f"{figure.subject} {amount(figure.value, figure.unit)}".strip() for figure in found]
        lines.append(f"- {what}: {', '.join(values)}")
    return lines


def _samples(figures: Sequence[Figure]) -> str:
    """Say how many samples the figures of each size have."""
    words = []
    for size in SIZES:
        counts = sorted({figure.samples for figure in figures if figure.size == size})
        if counts:
            words.append(f"{size} {' to '.join(str(count) for count in counts[:: max(len(counts) - 1, 1)])}")
    return f"Samples of a figure: {', '.join(words)}."


def _sizes_table(figures: Sequence[Figure]) -> list[str]:
    """Lay out figures, a row for each, the sizes side by side."""
    rows: dict[tuple[str, str, str], dict[str, Figure]] = {}
    for figure in figures:
        rows.setdefault((figure.storage, figure.name, figure.floor_name), {})[figure.size] = figure
    table = [["storage", "what", *SIZES, "target", "M → L"]]
    for (storage, name, floor_name), by_size in rows.items():
        what = f"{name}, against: {floor_name}" if floor_name else name
        cells = [cell(by_size[size]) if size in by_size else "" for size in SIZES]
        table.append([storage, what, *cells, promise(by_size.values()), _growth(by_size)])
    return _table(table)


def _pages_tables(figures: Sequence[Figure]) -> list[str]:
    """Lay out figures of pages, a table for each size, a row for each page."""
    lines = []
    for size in SIZES:
        of_size = [figure for figure in figures if figure.size == size]
        if not of_size:
            continue
        names = list(dict.fromkeys(figure.name for figure in of_size))
        floor = of_size[0].floor_name
        table = [["page", *(f"{name}, against: {floor}" if floor else name for name in names)]]
        for subject in dict.fromkeys(figure.subject for figure in of_size):
            found = {figure.name: cell(figure) for figure in of_size if figure.subject == subject}
            table.append([subject, *(found.get(name, "") for name in names)])
        if size == "L":
            table[0].append(f"M → L, {names[0]}")
            for row in table[1:]:
                row.append(_growth({f.size: f for f in figures if (f.subject, f.name) == (row[0], names[0])}))
        promised = [promise([figure for figure in of_size if figure.name == name]) for name in names]
        if any(promised):
            table.append(["target", *promised, *[""] * (len(table[0]) - 1 - len(promised))])
        lines += [f"Size {size}, {of_size[0].storage}:", "", *_table(table), ""]
    return lines[:-1]


def _growth(by_size: dict[str, Figure]) -> str:
    """Write how a figure grows from M to L."""
    found = growth(by_size["M"], by_size["L"]) if {"M", "L"} <= by_size.keys() else None
    return "" if found is None else f"{found:.2f}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write rows as a table, the first one as its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]
