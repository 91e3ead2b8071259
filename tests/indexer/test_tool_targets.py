"""What a tool call works on, from its arguments."""

import json

import pytest

from indexer.tool_targets import MAX_CHARACTERS, target_of, target_of_text


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("git status", "git"),
        ("/usr/bin/git status", "git"),
        ("cd /tmp && npm test", "npm"),
        ("cd /tmp; ls -la | wc -l", "ls"),
        ("NODE_ENV=test FOO='a b' node x.js", "node"),
        ("sudo -E timeout 5s make all", "make"),
        ("time -p cargo build", "cargo"),
        ("env A=1 python3 -m pytest", "python3"),
        ("# a comment\nrg needle", "rg"),
        ("mkdir -p out\ncp a out", "cp"),
        ("(cd sub && go test ./...)", "go"),
        ("for i in 1 2; do echo $i; done", "echo"),
        ("if [ -f x ]; then rm x; fi", "rm"),
        ("while true; do sleep 1; done", "sleep"),
        ("cd /tmp", "cd"),
        ("echo 'not closed", "echo"),
        ("cd x && \\\n  npm test", "npm"),
        ("A=1 \\\n  B=2 npm test", "npm"),
        ("cd 'my & dir' && npm test", "npm"),
        ('export A="x;y"; npm test', "npm"),
        ("# don't stop\nmake", "make"),
        ("A=$(cat f | head -1) python x.py", "python"),
        ("cd x >/dev/null 2>&1 && make", "make"),
        ("2> errors make <in", "make"),
        ("if [[ -f x && -f y ]]; then make; fi", "make"),
        ("cd x || exit 1\nmake", "make"),
        ("sudo -u postgres psql", "psql"),
        ("sudo -nu root --chdir /x -- make", "make"),
        ("timeout -k 5 --signal KILL 10 make", "make"),
        ("env -u A make", "make"),
        ("env | sort", "env"),
        ("exec 2>&1; make", "make"),
        (r"C:\Python\python.exe x.py", "python.exe"),
        (r'& "C:\Program Files\nodejs\node.exe" x.js', "node.exe"),
        (r".\gradlew.bat build", "gradlew.bat"),
        (r"my\ tool x", "my tool"),
        ("cat <<'EOF' > x\nmake\nEOF", "cat"),
        ("> x", None),
        ("", None),
        ("   \n  ", None),
        ("&& | ;", None),
    ],
)
def test_target_of_shell_command_names_its_program(command: str, program: str | None) -> None:
    """The first program that does more than prepare; what only sets something up does not count."""
    assert target_of("bash", {"command": command, "description": "x"}) == program


def test_target_of_file_tools_names_the_files() -> None:
    """As the call names them; a patch may name several, one a line."""
    patch = "*** Begin Patch\n*** Add File: a.py\n+x\n*** Update File: b c.py\n@@\n*** Delete File: a.py\n*** End Patch"

    found = [
        target_of("read", {"filePath": "/src/a.py"}),
        target_of("edit", {"filePath": " b.py ", "oldString": "x", "newString": "y"}),
        target_of("apply_patch", {"patchText": patch}),
        target_of("read", {"path": "c.py"}),
    ]

    assert found == ["/src/a.py", "b.py", "a.py\nb c.py", "c.py"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("webfetch", {"url": "https://example.com"}),
        ("read", {"filePath": 7}),
        ("read", {"filePath": ""}),
        ("bash", {"command": ["ls"]}),
        ("bash", "ls"),
        ("edit", None),
        (None, {"filePath": "a"}),
    ],
)
def test_target_of_nothing_named_is_none(tool: str | None, arguments: object) -> None:
    """Other tools, other types, nothing at all."""
    assert target_of(tool, arguments) is None


def test_target_of_many_files_is_cut_between_two() -> None:
    """A row stays narrow, and no path is cut in half."""
    patch = "\n".join(f"*** Add File: folder/file-{number}.py" for number in range(1_000))

    found = target_of("apply_patch", {"patchText": patch}) or ""

    assert len(found) <= MAX_CHARACTERS
    assert all(line.endswith(".py") for line in found.split("\n"))


@pytest.mark.parametrize(
    "text",
    [
        '{"filePath":"/src/a \\"b\\".py","content":"xxx … 5 MB left out',
        '{"content": … yyy","filePath":"/src/a \\"b\\".py"}',
        '{"path":"/src/a \\"b\\".py","content":"xxx',
    ],
)
def test_target_of_text_cut_arguments_still_name_the_file(text: str) -> None:
    """The index keeps head and tail of long arguments: the path is in one of them."""
    assert target_of_text("write", text) == '/src/a "b".py'


def test_target_of_text_equals_target_of() -> None:
    """What is stored tells the same as the document."""
    arguments = {"command": "cd x && git log", "description": "History"}

    assert target_of_text("bash", json.dumps(arguments)) == target_of("bash", arguments) == "git"
    assert target_of_text("bash", '{"command": "git lo') is None
