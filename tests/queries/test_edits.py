"""What the arguments of a call say about files: any arguments, also damaged ones."""

import json
import random

import pytest

from queries.edits import MAX_COMPARED_LINES, FileDiff, diffs, patched_paths, paths


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("read", '{"filePath":"/a"}', ("/a",)),
        ("edit", '{"filePath":"/a","oldString":"","newString":""}', ("/a",)),
        ("write", '{"content":"","filePath":"/a"}', ("/a",)),
        ("edit", '{"path":"a","oldString":"","newString":""}', ("a",)),
        ("write", '{"path":"a","content":"cut of', ("a",)),
        (
            "apply_patch",
            json.dumps({"patchText": "*** Delete File: a\n*** Add File: b\n*** Update File: a"}),
            ("a", "b"),
        ),
        ("apply_patch", '{"patchText":"no file"}', ()),
        ("bash", '{"filePath":"/a"}', ()),
        ("edit", '{"filePath":42}', ()),
        ("edit", "[]", ()),
        ("edit", "", ()),
        ("edit", None, ()),
        ("write", '{"filePath":"/a \\"b\\"","content":"cut of', ('/a "b"',)),
        ("write", 'off","filePath":"/z"}', ("/z",)),
        ("write", '{"content":"\\"filePath\\":\\"/no\\" cut of', ()),
        ("write", '{"filePath":"\\ud83d cut', ()),
    ],
)
def test_paths_any_arguments_name_the_files(tool: str, arguments: str | None, expected: tuple[str, ...]) -> None:
    """Also of arguments that were cut, where they name the file first or last."""
    assert paths(tool, arguments) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"oldString": "a\nb\nc", "newString": "a\nB\nc"}, ("@@\n a\n-b\n+B\n c", 1, 1)),
        ({"oldString": "", "newString": "a\n"}, ("@@\n+a", 1, 0)),
        ({"oldString": "a", "newString": "a"}, ("", 0, 0)),
        ({"oldString": "a", "newString": "b", "replaceAll": True}, ("@@\n-a\n+b", None, None)),
        ({"oldString": "a"}, ("", None, None)),
        ({"oldString": 1, "newString": None}, ("", None, None)),
        ({"content": "a\n\nb"}, ("+a\n+\n+b", 3, None)),
        ({"content": ""}, ("", 0, None)),
    ],
)
def test_diffs_edits_say_what_changes(given: dict[str, object], expected: tuple[str, int | None, int | None]) -> None:
    """Lines with their signs; what cannot be known is not."""
    found = diffs("edit", json.dumps({"filePath": "x", **given}))

    assert found == (FileDiff("x", *expected),)


def test_diffs_path_as_newer_clients_call_it_is_read() -> None:
    """OpenCode 2.0 calls the argument `path`."""
    found = diffs("edit", json.dumps({"path": "x", "oldString": "a", "newString": "b\nc"}))

    assert [(each.path, each.additions, each.deletions) for each in found] == [("x", 2, 1)]


@pytest.mark.parametrize("seed", range(50))
def test_diffs_without_text_counts_the_lines_that_the_text_shows(seed: int) -> None:
    """However much the two texts have in common."""
    chance = random.Random(seed)
    old, new = ("\n".join(chance.choices("abcdefgh", k=chance.randrange(12))) for _ in range(2))
    arguments = json.dumps({"filePath": "x", "oldString": old, "newString": new})
    (whole,) = diffs("edit", arguments)

    (counted,) = diffs("edit", arguments, with_text=False)

    signs = [line[:1] for line in whole.text.split("\n")]
    assert counted == FileDiff("x", "", signs.count("+"), signs.count("-"))


def test_diffs_several_edits_in_one_call_are_told_one_by_one() -> None:
    """As `multiedit` makes them."""
    edits = [{"oldString": "a", "newString": "b"}, {"oldString": "c", "newString": ""}]

    found = diffs("multiedit", json.dumps({"filePath": "x", "edits": edits}))

    assert [(each.additions, each.deletions) for each in found] == [(1, 1), (0, 1)]


def test_diffs_long_texts_are_not_compared() -> None:
    """Their lines are shown as taken out and put in, and not counted."""
    text = "line\n" * MAX_COMPARED_LINES

    (found,) = diffs("edit", json.dumps({"filePath": "x", "oldString": text, "newString": text + "more\n"}))

    assert (found.additions, found.deletions) == (None, None)
    assert found.text.count("\n-line") == MAX_COMPARED_LINES - 1


def test_diffs_deleted_file_has_unknown_deletions() -> None:
    """A patch does not say what was in it."""
    (found,) = diffs("apply_patch", json.dumps({"patchText": "*** Begin Patch\n*** Delete File: x\n*** End Patch"}))

    assert found == FileDiff("x", "", 0, None)


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [('{"hash":"c0","files":["/a","/b",3]}', ("/a", "/b")), ('{"files":"x"}', ()), ("cut", ()), (None, ())],
)
def test_patched_paths_reads_what_opencode_saw(recorded: str | None, expected: tuple[str, ...]) -> None:
    """Only paths that are text."""
    assert patched_paths(recorded) == expected
