"""What an export leaves out: home folders and what looks like a secret. Every secret here is made up."""

import pytest

from pages.ui.masking import MASK, Json, masked, masked_values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/dev/src/x.py", "~/src/x.py"),
        ("file:///home/dev/a", "file://~/a"),
        ("cd /Users/anna", "cd ~"),
        ("/mnt/c/Users/bob/x and /var/home/bob", "~/x and ~"),
        ("C:\\Users\\John Doe\\x", "~\\x"),
        ('{"path":"C:\\\\Users\\\\John Doe\\\\x"}', '{"path":"~\\\\x"}'),
        ("cat /root/.ssh/config /rooted", "cat ~/.ssh/config /rooted"),
        ("/srv/home/dev stays", "/srv/home/dev stays"),
    ],
)
def test_masked_home_folders_become_a_tilde(text: str, expected: str) -> None:
    """On every system, also inside JSON."""
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abcdefghijkl", f"Authorization: {MASK}"),
        ("curl -H 'authorization: Basic dXNlcjpwdw==' x", f"curl -H 'authorization: {MASK}' x"),
        ('{"headers":{"X-Api-Key":"1234"}}', f'{{"headers":{{"X-Api-Key":"{MASK}"}}}}'),
        ("Set-Cookie: id=abc; Path=/", f"Set-Cookie: {MASK}"),
        ("sent bearer abcdefgh12 to it", f"sent bearer {MASK} to it"),
        ("postgres://u:pw@host/db", f"postgres://{MASK}@host/db"),
        ("https://x/?a=1&access_token=abc&b=2", f"https://x/?a=1&access_token={MASK}&b=2"),
        ("password=hunter2", f"password={MASK}"),
        ('password: "correct horse"', f'password: "{MASK}"'),
        ("apiKey = 'abc123'", f"apiKey = '{MASK}'"),
        ('"{\\"api_key\\":\\"abc\\"}"', f'"{{\\"api_key\\":\\"{MASK}\\"}}"'),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY", f"aws_secret_access_key = {MASK}"),
        ("deploy --token abcdef --verbose", f"deploy --token {MASK} --verbose"),
        ("curl -u user:pass http://x", f"curl -u user:{MASK} http://x"),
        ('git_token => "abcd"', f'git_token => "{MASK}"'),
    ],
)
def test_masked_values_of_secret_names_are_left_out(text: str, expected: str) -> None:
    """Headers, assignments, options, addresses."""
    assert masked(text) == expected


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-" + "a1B2" * 8,
        "sk_live_" + "a1B2" * 6,
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2" * 9,
        "glpat-" + "a1B2" * 5,
        "xoxb-123456789012-abcdef",
        "AKIA" + "ABCD" * 4,
        "AIza" + "a1B2" * 9,
        "npm_" + "a1B2" * 9,
        "hf_" + "a1B2" * 6,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_d",
        "AGE-SECRET-KEY-1" + "ABCD" * 12,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3Bl\\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIE and then the text was cut",
    ],
)
def test_masked_known_secrets_are_left_out_wherever_they_stand(secret: str) -> None:
    """By their form alone."""
    assert masked(f"it is {secret}") == f"it is {MASK}"


@pytest.mark.parametrize(
    "text",
    [
        "the token is nice",
        "token: string;",
        "const token = getToken()",
        "apiKey: process.env.API_KEY",
        "max_tokens=4096 total_tokens: 55",
        'tokenizer: "cl100k_base"',
        "author: johnd0e99x",
        "commit 7cd2f0a1b2c3d4e5f60718293a4b5c6d7e8f9012",
        "sk_learn_something_else",
        "PORT=3000\nDEBUG=true\nPATH=$HOME/bin\nEMPTY=",
        "if a == b and c != d:",
    ],
)
def test_masked_ordinary_text_stays(text: str) -> None:
    """Code that only speaks of secrets, numbers, hashes."""
    assert masked(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nDB_URL=abc def\nexport KEY_ID='x'", f"A=1\nDB_URL={MASK}\nexport KEY_ID={MASK}"),
        ("00012| DB_URL=abc", f"00012| DB_URL={MASK}"),
        ("+DB_URL=abc", f"+DB_URL={MASK}"),
        ('"content":"A=1\\nDB_URL=abc\\nB=2"', f'"content":"A=1\\nDB_URL={MASK}\\nB=2"'),
    ],
)
def test_masked_lines_of_an_environment_file_lose_their_values(text: str, expected: str) -> None:
    """Also in a listing with line numbers, in a diff, and inside JSON that was cut."""
    assert masked(text) == expected


def test_masked_environment_file_loses_every_value() -> None:
    """Where the file is known to be one, nothing is taken for harmless."""
    assert masked("port=3000\nname = me\n# note", is_environment=True) == f"port={MASK}\nname = {MASK}\n# note"


def test_masked_values_names_of_fields_tell() -> None:
    """Texts inside lists and objects; numbers stay."""
    value: Json = {"password": "x", "a": [{"token": "t", "text": "/home/me/x"}], "tokens": "5", "n": 5, "none": None}

    assert masked_values(value) == {
        "password": MASK,
        "a": [{"token": MASK, "text": "~/x"}],
        "tokens": "5",
        "n": 5,
        "none": None,
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": 12345678}, {"password": MASK}),
        ({"set-cookie": ["sid=abc", ""]}, {"set-cookie": [MASK, ""]}),
        ({"credentials": {"user": "me", "pin": 1234}}, {"credentials": {"user": MASK, "pin": MASK}}),
        ({"env": [{"name": "DB_PASSWORD", "value": "x"}]}, {"env": [{"name": "DB_PASSWORD", "value": MASK}]}),
        ({"env": [{"name": "PORT", "value": "80"}]}, {"env": [{"name": "PORT", "value": "80"}]}),
        ({"auth": True, "token": None, "secrets": []}, {"auth": True, "token": None, "secrets": []}),
        ("AccountName=shop;AccountKey=abc12345==", f"AccountName=shop;AccountKey={MASK}"),
    ],
)
def test_masked_values_all_that_a_secret_name_holds_is_left_out(value: Json, expected: Json) -> None:
    """Numbers, lists and objects, and the value beside a name; yes and no, and what is not there, tell nothing."""
    assert masked_values(value) == expected


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "a",
        "-",
        "a.",
        "A_",
        "://",
        "/home/",
        "x-",
        "eyJ",
        'token="',
        "secret:",
        " -u",
        "-----BEGIN ",
        "C:\\Users\\",
    ],
)
def test_masked_long_repetitions_end(text: str) -> None:
    """Text that somebody made to keep an expression busy for hours: no repetition is tried from everywhere."""
    found = masked(text * 50_000)

    assert isinstance(found, str)
