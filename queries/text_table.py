"""A table as plain text: for a terminal, or whatever reads what a terminal would."""

import unicodedata
from collections.abc import Iterator, Sequence

_GAP = "   "
_LEAST_NAME = 16  # columns that a name keeps, however narrow the terminal


def lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str], width: int | None = None
) -> Iterator[str]:
    """Lay out rows of a name and numbers, with their sum below.

    Args:
        headings: Of the columns.
        rows: A cell per column, without characters that a terminal obeys.
        total: The last row.
        width: Columns of the terminal: longer names go on in the next line. None: there is no end.

    Yields:
        Lines without the end of the line.
    """
    sizes = [max(map(_columns, column)) for column in zip(headings, *rows, total, strict=True)]
    if width is not None:
        numbers = sum(sizes[1:]) + len(_GAP) * (len(sizes) - 1)
        sizes[0] = min(sizes[0], max(_LEAST_NAME, width - numbers))
    rule = "─" * (sum(sizes) + len(_GAP) * (len(sizes) - 1))
    yield from (_line(headings, sizes), rule)
    for name, *cells in rows:
        first, *others = _folded(name, sizes[0])
        yield _line([first, *cells], sizes)
        yield from others
    yield from (rule, _line(total, sizes))


def _line(cells: Sequence[str], sizes: Sequence[int]) -> str:
    """Put cells beside each other, the first to the left and numbers to the right."""
    spaces = [" " * (size - _columns(cell)) for cell, size in zip(cells, sizes, strict=True)]
    numbers = [space + cell for cell, space in zip(cells[1:], spaces[1:], strict=True)]
    return _GAP.join([cells[0] + spaces[0], *numbers])


def _folded(text: str, size: int) -> list[str]:
    """Cut a text into pieces of so many columns; at least one."""
    pieces, used = [""], 0
    for character in text:
        taken = _columns(character)
        if used + taken > size:
            pieces.append("")
            used = 0
        pieces[-1] += character
        used += taken
    return pieces


def _columns(text: str) -> int:
    """Return how wide a terminal shows a text: of many languages a character takes two columns, an accent none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
