"""Tables in the terminal: aligned in whatever language, and no wider than it."""

from queries import text_table


def test_lines_numbers_are_aligned_to_the_right_and_the_sum_is_last() -> None:
    """Each column is as wide as its widest cell."""
    found = list(text_table.lines(("Day", "USD"), [("2026-01-01", "1.5"), ("b", "10.25")], ("Total", "11.75")))

    assert found == [
        "Day            USD",
        "──────────────────",
        "2026-01-01     1.5",
        "b            10.25",
        "──────────────────",
        "Total        11.75",
    ]


def test_lines_wide_characters_and_accents_take_the_columns_that_a_terminal_gives_them() -> None:
    """Two for each of the first name, one for the letter and its accent in the second."""
    found = list(text_table.lines(("Name", "N"), [("日本語", "1"), ("e\u0301", "2")], ("Total", "3")))

    assert found[2:4] == ["日本語   1", "e\u0301        2"]


def test_lines_name_longer_than_the_terminal_goes_on_in_the_next_line() -> None:
    """Numbers stay whole, and a name keeps 16 columns."""
    name = "abcdefghijklmnopqrstuvwxyz"

    folded = list(text_table.lines(("Name", "N"), [(name, "1")], ("Total", "1"), width=24))
    narrow = list(text_table.lines(("Name", "N"), [(name, "1")], ("Total", "1"), width=3))

    assert folded[2:4] == ["abcdefghijklmnopqrst   1", "uvwxyz"]
    assert narrow[2:4] == ["abcdefghijklmnop   1", "qrstuvwxyz"]
    assert {len(line) for line in folded[:3]} == {24}


def test_lines_no_rows_has_headings_and_sum() -> None:
    """As of a period without messages."""
    assert list(text_table.lines(("Day", "USD"), [], ("Total", "—"))) == [
        "Day     USD",
        "───────────",
        "───────────",
        "Total     —",
    ]
