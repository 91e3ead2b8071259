"""What a tool call works on, by its arguments: the program of a shell command, the files of a read or edit. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping

import orjson

SHELL_TOOLS = ("bash", "shell")
FILE_TOOLS = ("read", "edit", "write", "multiedit", "apply_patch", "patch")
MAX_CHARACTERS = 4_000  # a patch may name hundreds of files

_PATCH_FILE = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$", re.MULTILINE)
_PATHS = ("filePath", "path")  # what clients call the argument: until 1.18, since 2.0
# arguments that the index cut are no JSON any more: the path is looked for where clients put it, first or last
_CUT_PATH = re.compile(
    r'^\s*\{\s*"(?:filePath|path)"\s*:\s*("(?:[^"\\]|\\.)*")|"(?:filePath|path)"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*$'
)
_HEAD_CHARACTERS = 2_000  # of a command: what it runs first is at its beginning
# What a shell command consists of. What is quoted or substituted ends no command, nor does a line that goes on.
_TOKEN = re.compile(
    r"""[^\S\n]+ | \\\r?\n
      | \#[^\n]*
      | (?:\d*[<>]|&>)[<>&|-]*[^\S\n]*(?P<redirected>\S?)
      | (?P<end>[;|&\n]+)
      | (?P<word>(?:'[^']*' | "(?:\\.|[^"\\])*" | \$\((?:[^()]|\([^()]*\))*\) | `[^`]*`
                 | \[\[\s(?:[^\]\n]|\](?!\])){0,200}\]\] | \\. | [^\s'"\\;|&<>`])+)
      | .
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)""", re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\$`])')
_WINDOWS_PATH = re.compile(r"(?:[A-Za-z]:|\.{1,2})?\\[\w.]")
_ASSIGNMENT = re.compile(r"(?:\$env:)?[A-Za-z_]\w*\+?=")
# What only prepares the command that is meant.
_PREPARES = frozenset(
    (
        *("cd", "pushd", "popd", "export", "set", "shopt", "source", ".", "unset", "umask", "ulimit", "true", ":"),
        *("mkdir", "exit", "return", "trap", "alias", "declare", "local", "readonly", "read", "exec"),
    )
)
# What runs another program with the rest of its words: the letters of its options whose value is a word of its own.
_WRAPPERS = {
    "sudo": "ughpCrtTUDR",
    "doas": "uC",
    "env": "uC",
    "time": "fo",
    "nice": "n",
    "timeout": "ks",
    "stdbuf": "ioe",
    "ionice": "cn",
    "exec": "a",
    "nohup": "",
    "command": "",
    "setsid": "",
}
_LONG_WITH_VALUE = frozenset(
    (
        *("--user", "--group", "--host", "--prompt", "--unset", "--chdir", "--signal", "--kill-after"),
        *("--adjustment", "--class", "--classdata", "--input", "--output", "--error", "--format"),
    )
)
_TIME_LIMIT = re.compile(r"[\d.]+[smhd]?")
# Words of the shell itself: before a command, and instead of one.
_BEFORE_COMMAND = {"do", "then", "else", "if", "elif", "while", "until", "!", "{", "("}
_NO_COMMAND = {"for", "case", "select", "function", "done", "fi", "esac", "}", ")", "[", "test"}


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
        path = next((value for name in _PATHS if isinstance(value := arguments.get(name), str)), "")
        paths = [path]
    named = dict.fromkeys(path.strip().replace("\n", " ") for path in paths if path.strip())
    text = "\n".join(named)
    return (text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS].rpartition("\n")[0]) or None


def _program(command: str) -> str | None:
    """Name the program that a shell command is about: the first that does more than prepare."""
    first: str | None = None
    for words in _commands(command[:_HEAD_CHARACTERS]):
        program = _first_program(words)
        if program is not None and program not in _PREPARES:
            return program
        first = first or program
    return first


def _commands(text: str) -> Iterator[list[str]]:
    """Split a shell command into the words of its single commands, quotes included; where output goes is left out."""
    words: list[str] = []
    place = 0
    while found := _TOKEN.match(text, place):
        place = found.end()
        if found["redirected"]:
            place = _after_word(text, found.start("redirected"))
        elif found["end"]:
            yield words
            words = []
        elif found["word"]:
            words.append(found["word"])
    yield words


def _after_word(text: str, place: int) -> int:
    """Return where the word that begins at a place ends; the place itself if none does."""
    found = _TOKEN.match(text, place)
    return found.end() if found and found["word"] else place


def _first_program(words: Iterable[str]) -> str | None:
    """Skip assignments and wrappers, and return the name of the program without its folder."""
    rest = iter(words)
    wrapper: str | None = None
    for word in rest:
        if _ASSIGNMENT.match(word) or (wrapper and _TIME_LIMIT.fullmatch(word)) or word in _BEFORE_COMMAND:
            continue
        if wrapper and word.startswith("-"):
            if _takes_value(wrapper, word):
                next(rest, None)
            continue
        if word in _NO_COMMAND or word.startswith("[["):
            return None
        name = _name(word)
        if name in _WRAPPERS:
            wrapper = name
        elif name:
            return name[:80]
    return wrapper


def _takes_value(wrapper: str, option: str) -> bool:
    """Tell whether the word after an option of a wrapper is its value."""
    if option.startswith("--"):
        return option in _LONG_WITH_VALUE
    return option[-1] in _WRAPPERS[wrapper]


def _name(word: str) -> str:
    """Return the name of a program as one would say it: without quotes, folder and the shell's brackets."""
    bare = word.strip("\"'")
    if _WINDOWS_PATH.match(bare):
        return re.split(r"[\\/]", bare)[-1]
    text = _QUOTED.sub(lambda found: found[1] or _ESCAPED.sub(r"\1", found[2] or "") or found[3] or "", word)
    return text if text.startswith("$(") else text.strip("(){}").rpartition("/")[2]
