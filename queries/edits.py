"""Which files a tool call reads or edits, and what it asked to change there: from its arguments.

OpenCode's own diffs are not in the index. What the arguments say is what was asked for; a failed call changed nothing.
"""

import difflib
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

EDIT_TOOLS = ("edit", "write", "multiedit", "apply_patch", "patch")
READ_TOOLS = ("read",)
MAX_COMPARED_LINES = 2_000  # of both sides together; finding the least difference takes time to the square of it

_PATCH_FILE = re.compile(r"^\*\*\* (Add|Update|Delete) File: (.+)$", re.MULTILINE)
_PATCH_FRAME = ("*** Begin Patch", "*** End Patch", "*** End of File")
_PATHS = ("filePath", "path")  # what clients call the argument: until 1.18, since 2.0
# arguments that the index cut are no JSON any more: the path is looked for where clients put it, first or last
_FIRST_PATH = re.compile(r'^\s*\{\s*"(?:filePath|path)"\s*:\s*("(?:[^"\\]|\\.)*")')
_LAST_PATH = re.compile(r'"(?:filePath|path)"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*$')


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a call asked to change in one file.

    Attributes:
        path: As the call names it.
        text: Lines with `+`, `-` or a blank before them, `@@` between places; no line numbers, they are not known.
            Empty if the arguments are not known in full.
        additions: Lines. None: not known, as when the arguments are too long to be in the index.
        deletions: Lines. None: not known, as when a whole file was written, perhaps over another.
        is_cut: There is more than `text` shows.
    """

    path: str
    text: str
    additions: int | None
    deletions: int | None
    is_cut: bool = False


def paths(tool: str, arguments: str | None) -> tuple[str, ...]:
    """Name the files that a call reads or edits.

    Args:
        tool: Its name.
        arguments: JSON text; may be cut off.

    Returns:
        Each file once, in order. Empty if the tool works on no file, or names none that can be read.
    """
    if tool not in EDIT_TOOLS and tool not in READ_TOOLS:
        return ()
    given = _object(arguments or "") or {}
    if isinstance(patch := given.get("patchText"), str):
        return tuple(dict.fromkeys(head[2].strip() for head in _PATCH_FILE.finditer(patch)))
    return _named(arguments)


def diffs(tool: str, arguments: str | None, *, with_text: bool = True) -> tuple[FileDiff, ...]:
    """Read what a call asked to change.

    Args:
        tool: Its name.
        arguments: JSON text; may be cut off.
        with_text: Whether to write down the lines that an edit changes, too, not only how many they are.

    Returns:
        One per file and place. Empty if the tool edits nothing or the arguments name no file.
    """
    if tool not in EDIT_TOOLS or not arguments:
        return ()
    given = _object(arguments)
    if given is None:
        return tuple(FileDiff(path, "", None, None, is_cut=True) for path in _named(arguments))
    if isinstance(patch := given.get("patchText"), str):
        return _patched(patch)
    path = _path(given)
    if path is None:
        return ()
    if isinstance(content := given.get("content"), str):
        lines = _lines(content)
        return (FileDiff(path, "\n".join(f"+{line}" for line in lines), len(lines), None),)
    edits = given.get("edits")
    return tuple(_replaced(path, edit, with_text) for edit in (edits if isinstance(edits, list) else [given]))


def _replaced(path: str, edit: object, with_text: bool) -> FileDiff:
    """Compare the old and the new text of one edit; its lines are known unless it replaces every occurrence."""
    old, new = (edit.get("oldString"), edit.get("newString")) if isinstance(edit, dict) else (None, None)
    if not isinstance(old, str) or not isinstance(new, str):
        return FileDiff(path, "", None, None)
    before, after = _lines(old), _lines(new)
    is_compared = len(before) + len(after) <= MAX_COMPARED_LINES
    is_counted = is_compared and not (isinstance(edit, dict) and edit.get("replaceAll") is True)
    additions, deletions = _counted(before, after) if is_counted else (None, None)
    if not with_text:
        return FileDiff(path, "", additions, deletions)
    lines = (
        _compared(before, after) if is_compared else [*(f"-{line}" for line in before), *(f"+{line}" for line in after)]
    )
    return FileDiff(path, "\n".join(lines), additions, deletions)


def _counted(old: list[str], new: list[str]) -> tuple[int, int]:
    """Count the lines that one text has more, and less, than another, as `_compared` shows them."""
    if not set(old).intersection(new):
        return len(new), len(old)
    changed = [code for code in difflib.SequenceMatcher(None, old, new).get_opcodes() if code[0] != "equal"]
    return sum(code[4] - code[3] for code in changed), sum(code[2] - code[1] for code in changed)


def _compared(old: list[str], new: list[str]) -> list[str]:
    """Write the difference of two texts, with three unchanged lines around each place."""
    found = list(difflib.unified_diff(old, new, lineterm=""))[2:]  # without the two lines of file names
    return ["@@" if line.startswith("@@") else line for line in found]


def _lines(text: str) -> list[str]:
    """Split a text at line feeds only, as patches are."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _patched(patch: str) -> tuple[FileDiff, ...]:
    """Split a patch in the form of `apply_patch` into its files."""
    heads = list(_PATCH_FILE.finditer(patch))
    ends = [head.start() for head in heads[1:]] + [len(patch)]
    found = []
    for head, end in zip(heads, ends, strict=False):  # without a head there is one end too many
        body = _lines(patch[head.end() : end])
        lines = [line for line in body if line and not line.startswith(_PATCH_FRAME)]
        removed = None if head[1] == "Delete" else sum(line.startswith("-") for line in lines)
        found.append(FileDiff(head[2].strip(), "\n".join(lines), sum(line.startswith("+") for line in lines), removed))
    return tuple(found)


def _named(arguments: str | None) -> tuple[str, ...]:
    """Read the one file that arguments name, also out of arguments that were cut."""
    if not arguments:
        return ()
    given = _object(arguments)
    if given is not None:
        path = _path(given)
        return (path,) if path else ()
    match = _FIRST_PATH.search(arguments) or _LAST_PATH.search(arguments)
    try:
        return (str(json.loads(match[1])),) if match else ()
    except ValueError:  # an odd escape
        return ()


def _path(given: Mapping[str, object]) -> str | None:
    """Read the one file that arguments name; None if there is none."""
    return next((path for name in _PATHS if isinstance(path := given.get(name), str)), None)


@functools.lru_cache(maxsize=1)  # of one call, files and lines are asked for one after the other
def _object(arguments: str) -> dict[str, object] | None:
    """Read arguments. None if they are no JSON object."""
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def patched_paths(recorded: str | None) -> tuple[str, ...]:
    """Name the files of a `patch` part: what OpenCode saw changed during a step.

    Args:
        recorded: `{"hash": …, "files": […]}` as JSON text; cut off, it names none.
    """
    files = (_object(recorded or "") or {}).get("files")
    return tuple(path for path in files if isinstance(path, str)) if isinstance(files, list) else ()
