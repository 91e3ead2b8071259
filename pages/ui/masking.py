"""What an export leaves out unless asked otherwise: home folders, and what looks like a secret.

A guess, made to leave out too much rather than too little; it cannot know every kind of secret.
"""

import re
from typing import TypeAlias

MASK = "[masked]"
HOME = "~"

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"

# A name that tells that its value is secret, and not only begins like one (`tokenizer`). `tokens` are counts.
_NAME = (
    r"(?:api[_-]?key|access[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|token(?!s)|passw(?:or)?d|passphrase|pwd"
    r"|private[_-]?key|account[_-]?key|credential|auth(?:orization)?(?:[_-]?(?:key|code|header))?|cookie|session[_-]?key"
    r"|encryption[_-]?key)s?(?![a-z])"
)
_NAME_WORDS = ("key", "secret", "token", "passw", "passphrase", "pwd", "credential", "auth", "cookie")
_SECRET_NAME = re.compile(rf"{_NAME}$", re.IGNORECASE)

# Every repetition that may start anywhere is bounded: texts are long, and somebody may have made them so on purpose.
# In arguments that were cut, line feeds are still written as `\n`.
_LINE_START = r"(?:^|(?<=\\n))"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_KNOWN_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:sk-|[sprw]k_(?:live|test|prod)_)[A-Za-z0-9_-]{16,}"
    r"|gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|gl(?:pat|dt|rt)-[A-Za-z0-9_-]{16,}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30,}|ya29\.[0-9A-Za-z_-]{20,}"
    r"|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|hf_[A-Za-z0-9]{20,}|gsk_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}"
    r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|dop_v1_[a-f0-9]{40,}|whsec_[A-Za-z0-9+/=]{16,}"
    r"|shp(?:at|ss)_[a-f0-9]{20,}|https://hooks\.slack\.com/services/[A-Za-z0-9/]+"
    r"|AGE-SECRET-KEY-1[0-9A-Z]{40,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
    r")"
)
# Most texts have none of these: looking for them first is many times faster than the expression.
_TOKEN_STARTS = (
    *("sk-", "k_live_", "k_test_", "k_prod_", "ghp_", "gho_", "ghr_", "ghs_", "ghu_", "github_pat_"),
    *("glpat-", "gldt-", "glrt-", "xox", "xapp-", "AKIA", "ASIA", "ABIA", "ACCA", "AIza", "ya29.", "npm_", "pypi-"),
    *("hf_", "gsk_", "xai-", "SG.", "dop_v1_", "whsec_", "shpat_", "shpss_", "hooks.slack.com", "AGE-SECRET-", "eyJ"),
)
_BEARER = re.compile(r"\b(bearer|basic)(\s{1,8})[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_HEADER = re.compile(
    r"""\b((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]{0,40}(?:key|token|secret|auth)[\w-]{0,40})"""
    r"""(\\?["']?\s{0,8}:\s{0,8}\\?["']?)[^\r\n"'\\]+""",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)[^\s/@:\"'<>]{0,200}:[^\s/@\"'<>]{1,200}@", re.IGNORECASE)
_QUERY = re.compile(
    r"([?&][\w.-]{0,40}(?:key|sig|signature|token|secret|auth|password|code)=)[^&\s\"'<>\\]+", re.IGNORECASE
)
_OPTION = re.compile(
    rf"""(\s--?[\w-]{{0,40}}{_NAME}(?:=|\s{{1,8}})["']?)(?!-)[^\s"']+"""
    r"""|(\s(?:-u|--user)(?:=|\s{1,8})["']?[^\s:"']{1,200}:)[^\s"']+""",
    re.IGNORECASE,
)
# A quoted value; one that is written right after `=`; any other only if it is long or has a digit, as code has names.
_ASSIGNED = re.compile(
    rf"""({_NAME}[\w.-]{{0,40}})(\\?["']?\s{{0,40}}(?::=|=>|[:=])\s{{0,40}})(?:"""
    r"""(?P<quoted>\\?["'`])(?P<text>(?:(?!(?P=quoted)).){3,4000}?)(?P=quoted)"""
    r"""|(?<==)(?P<near>[^\s"'`,;&(){}\[\]<>\\$][^\s"'`,;&(){}\[\]<>\\]{2,})"""
    r"""|(?P<far>(?=[^\s"',;]*[0-9]|[^\s"',;]{16})(?!process\.|os\.|env\.|import\.|\$)[^\s"'`,;&(){}\[\]<>\\]{6,}))""",
    re.IGNORECASE,
)
# A line of an environment file, also in a listing with line numbers or in a diff. Short numbers, yes and no stay.
_ENVIRONMENT = re.compile(
    rf"{_LINE_START}([ \t]{{0,40}}(?:\d{{1,9}}[:|\t][ \t]{{0,40}})?[+-]?[ \t]{{0,40}}"
    r"(?:export[ \t]{1,40})?[A-Z][A-Z0-9_]{1,80}=)"
    r"(?!\s|$|\$|\\n|(?:true|false|yes|no|on|off|[0-9]{1,5})(?:\s|$|\\n))(?:[^\r\n\\]|\\(?!n))+",
    re.MULTILINE,
)
# In an environment file itself every value may be one.
_ANY_VALUE = re.compile(
    rf"{_LINE_START}([ \t]{{0,40}}(?:\d{{1,9}}[:|\t][ \t]{{0,40}})?[+-]?[ \t]{{0,40}}"
    r"(?:export[ \t]{1,40})?[A-Za-z_][A-Za-z0-9_.]{0,80}[ \t]{0,8}=[ \t]{0,8})(?!\s|$|\\n)(?:[^\r\n\\]|\\(?!n))+",
    re.MULTILINE,
)
_HOMES = (
    re.compile(r"""(?<![\w.-])(?:/mnt/[a-z]|/var)?/(?:home|Users)/[^/\s"'`<>:;|\\,()\[\]{}*?]+"""),
    re.compile(r"(?<![\w.-])(?:/private)?(?:/var)?/root(?=[/\s\"'`:;,)\]]|$)"),
    re.compile(r"""\b[A-Za-z]:(\\\\|\\|/)Users\1(?:[^\\/:"<>|\r\n*?]{1,64}(?=\\|/)|[^\\/:"<>|\s*?]{1,64})"""),
)


def masked(text: str, is_environment: bool = False) -> str:
    """Leave out what looks like a secret, and name home folders `~`.

    Args:
        text: Any text, perhaps JSON.
        is_environment: It is about an environment file: then no value stays.

    Returns:
        The same text, where each secret is `[masked]`.
    """
    lower = text.lower()
    if "private key" in lower:
        text = _PRIVATE_KEY.sub(MASK, text)
    if any(word in lower for word in _NAME_WORDS):
        text = _HEADER.sub(rf"\1\2{MASK}", text)
        text = _ASSIGNED.sub(_hide, text)
    if "bearer" in lower or "basic" in lower:
        text = _BEARER.sub(rf"\1\2{MASK}", text)
    if "://" in text and "@" in text:
        text = _ADDRESS.sub(rf"\1{MASK}@", text)
    if "=" in text:
        text = _QUERY.sub(rf"\1{MASK}", text)
        text = (_ANY_VALUE if is_environment else _ENVIRONMENT).sub(rf"\1{MASK}", text)
    if " -" in text or "\t-" in text:
        text = _OPTION.sub(lambda match: f"{match[1] or match[2]}{MASK}", text)
    if any(start in text for start in _TOKEN_STARTS):
        text = _KNOWN_TOKENS.sub(MASK, text)
    if "/home/" in text or "/root" in text or "Users" in text:
        for home in _HOMES:
            text = home.sub(HOME, text)
    return text


def masked_values(value: Json, is_environment: bool = False) -> Json:
    """Mask every text inside a JSON value, and all of those whose name says that they are secret.

    Args:
        value: Any value.
        is_environment: As for `masked`.
    """
    if isinstance(value, str):
        return masked(value, is_environment)
    if isinstance(value, list):
        return [masked_values(each, is_environment) for each in value]
    if isinstance(value, dict):
        is_pair = any(_is_secret(value.get(name)) for name in ("name", "key"))  # {"name": "TOKEN", "value": "…"}
        return {
            masked(name): _hidden(each)
            if _is_secret(name) or (is_pair and name == "value")
            else masked_values(each, is_environment)
            for name, each in value.items()
        }
    return value


def _is_secret(name: Json) -> bool:
    """Tell whether a name says that its value is secret."""
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None


def _hidden(value: Json) -> Json:
    """Mask all that a field with a secret name holds, numbers and lists too."""
    if isinstance(value, list):
        return [_hidden(each) for each in value]
    if isinstance(value, dict):
        return {masked(name): _hidden(each) for name, each in value.items()}
    return value if value in (None, "") or isinstance(value, bool) else MASK


def _hide(match: re.Match[str]) -> str:
    """Hide the value of an assignment, but not its quotes."""
    quote = match["quoted"] or ""
    return f"{match[1]}{match[2]}{quote}{MASK}{quote}"
