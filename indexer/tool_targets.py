"""What a tool call works on, by its arguments: the program of a shell command, the files of a read or edit. Pure."""

import re
import shlex
from collections.abc import Mapping

import orjson

SHELL_TOOLS = ("bash", "shell")
FILE_TOOLS = ("read", "edit", "write", "multiedit", "apply_patch", "patch")
MAX_CHARACTERS = 4_000  # a patch may name hundreds of files

_PATCH_FILE = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$", re.MULTILINE)
# arguments that the index cut are no JSON any more: the path is looked for where clients put it, first or last
_CUT_PATH = re.compile(r'^\s*\{\s*"filePath"\s*:\s*("(?:[^"\\]|\\.)*")|"filePath"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*$')
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_NEXT_COMMAND = re.compile(r"\|\||&&|[;|&\n]")
_HEAD_CHARACTERS = 2_000  # of a command: what it runs first is at its beginning
# What only prepares the command that is meant, and what runs another program with the rest of its words.
_PREPARES = {"cd", "pushd", "export", "set", "source", ".", "unset", "umask", "ulimit", "true", ":", "mkdir"}
_WRAPPERS = {"sudo", "env", "time", "nohup", "nice", "command", "exec", "timeout", "stdbuf", "ionice", "setsid"}
# Words of the shell itself: before a command, and instead of one.
_BEFORE_COMMAND = {"do", "then", "else", "if", "elif", "while", "until", "!", "{", "("}
_NO_COMMAND = {"for", "case", "select", "function", "done", "fi", "esac", "}", ")", "[", "[[", "test"}
_WRAPPER_VALUE = re.compile(r"-.*|[\d.]+[smhd]?")  # an option of a wrapper, or a time limit


def target_of(tool: str | None, arguments: object) -> str | None:
    """Say what a tool call works on.

    Args:
        tool: Its name.
        arguments: Its input as recorded.

    Returns:
        For a shell command the name of its program; for a tool that reads or edits files their paths as the call names
        them, one a line. None for other tools, and where nothing is named.
    """
    if not isinstance(arguments, Mapping):
        return None
    if tool in SHELL_TOOLS:
        command = arguments.get("command")
        return _program(command) if isinstance(command, str) else None
    if tool in FILE_TOOLS:
        return _files(arguments)
    return None


def target_of_text(tool: str | None, text: str) -> str | None:
    """Say what a tool call works on, from its arguments as the index keeps them: JSON text, perhaps cut."""
    try:
        return target_of(tool, orjson.loads(text))
    except orjson.JSONDecodeError:
        found = _CUT_PATH.search(text)
        return target_of(tool, {"filePath": orjson.loads(found[1] or found[2])}) if found else None


def _files(arguments: Mapping[str, object]) -> str | None:
    """Name the files, each once."""
    patch = arguments.get("patchText")
    if isinstance(patch, str):
        paths = [found[1] for found in _PATCH_FILE.finditer(patch)]
    else:
        path = next((value for name in ("filePath", "path") if isinstance(value := arguments.get(name), str)), "")
        paths = [path]
    named = dict.fromkeys(path.strip().replace("\n", " ") for path in paths if path.strip())
    text = "\n".join(named)
    return (text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS].rpartition("\n")[0]) or None


def _program(command: str) -> str | None:
    """Name the program that a shell command is about: the first that does more than prepare."""
    first: str | None = None
    for piece in _NEXT_COMMAND.split(command[:_HEAD_CHARACTERS]):
        program = _first_program(_words(piece))
        if program is not None and program not in _PREPARES:
            return program
        first = first or program
    return first


def _words(piece: str) -> list[str]:
    """Split a command into words; quotes that do not close are words of their own."""
    try:
        return shlex.split(piece, comments=True)
    except ValueError:
        return piece.split()


def _first_program(words: list[str]) -> str | None:
    """Skip assignments and wrappers, and return the name of the program without its folder."""
    rest = iter(words)
    is_wrapped = False
    for word in rest:
        if _ASSIGNMENT.match(word) or (is_wrapped and _WRAPPER_VALUE.fullmatch(word)):
            continue
        name = word.strip("(){}").rpartition("/")[2]
        if word in _BEFORE_COMMAND:
            continue
        if word in _NO_COMMAND:
            return None
        if name in _WRAPPERS:
            is_wrapped = True
        elif name:
            return name[:80]
    return None
