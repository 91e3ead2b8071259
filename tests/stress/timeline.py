"""How soon the Timeline shows a very long session, answers a click, and shows what a running session writes."""

import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser import running
from tests.browser.visit import visiting
from tests.builders import START_MS, Doc, assistant, part, project, session, step_finish, tokens, user, write_sqlite

EXCHANGES = 2_000
CALLS = 7  # of each exchange: with prompt, step and answer ten events
OPENS = 5
CLICKS = 20
PER_SECOND = 5
OPEN_S, CLICK_S, BAR_P95_S = 2.0, 0.3, 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a person would have waited for, in seconds.

    Attributes:
        opens: From the address to waterfall and transcript, by a server that has shown the page before.
        clicks: From a click on an exchange to its transcript.
        bars: From the write of a tool call to its appearance.
    """

    opens: list[float]
    clicks: list[float]
    bars: list[float]

    @property
    def is_soon(self) -> bool:
        """Tell whether it was quick enough."""
        return (
            statistics.median(self.opens) < OPEN_S
            and statistics.median(self.clicks) < CLICK_S
            and _p95(self.bars) < BAR_P95_S
        )


def run(folder: Path, seconds: float) -> Outcome:
    """Measure.

    Args:
        folder: An empty one.
        seconds: How long the running session writes.
    """
    executable = running.browser_path()
    if executable is None:
        raise RuntimeError("no Chromium or Chrome was found")
    with running.browser(executable) as browser:
        opens, clicks = _measure_long(browser, folder / "long")
        return Outcome(opens, clicks, _measure_growth(browser, folder / "live", seconds))


def _measure_long(browser: Browser, folder: Path) -> tuple[list[float], list[float]]:
    """Open a very long session, and click through it."""
    data, index = write_sqlite(folder / "opencode", _long_session()), folder / "index.duckdb"
    subprocess.run(
        [sys.executable, "-m", "indexer", "bulk", "--data", data, "--db", index], check=True, cwd=running.ROOT
    )
    opens, clicks = [], []
    with running.dashboard(index) as base, visiting(browser, base) as visit:
        for _ in range(OPENS + 1):
            visit.page.goto("about:blank")
            started = time.monotonic()
            visit.page.goto(f"{base}/timeline?session=ses_1")
            _wait_for_both(visit.page)
            opens.append(time.monotonic() - started)
        for _ in range(CLICKS):
            row = visit.page.locator('.rows .row[aria-level="1"][aria-selected="false"]').last
            number = str(row.inner_text()).split()[0]
            started = time.monotonic()
            row.click()
            visit.page.locator(".detail").get_by_text(f"Exchange {number} of").first.wait_for(state="attached")
            clicks.append(time.monotonic() - started)
    return opens[1:], clicks


def _long_session() -> list[Doc]:
    """Make the session."""
    docs: list[Doc] = [project(), session()]
    for number in range(EXCHANGES):
        at, asked, answered = START_MS + number * 60_000, f"msg_{number:05}u", f"msg_{number:05}a"
        docs += [
            user(asked, created=at),
            part(f"prt_{number:05}u", "text", asked, text=f"Prompt {number}"),
            assistant(
                answered, parent=asked, created=at + 100, completed=at + 20_000, usage=tokens(1_000 + number, 50)
            ),
            part(f"prt_{number:05}s", "step-start", answered),
        ]
        docs += [_call(f"prt_{number:05}t{call}", answered, f"ls {call}", at + 1_000 * call) for call in range(CALLS)]
        docs += [
            part(f"prt_{number:05}x", "text", answered, text=f"Answer {number}"),
            step_finish(f"prt_{number:05}y", tokens(1_000 + number, 50), answered),
        ]
    return docs


def _call(part_id: str, message_id: str, command: str, at: int) -> Doc:
    """Make a finished tool call."""
    state = {
        "status": "completed",
        "input": {"command": command},
        "output": "done",
        "title": command,
        "metadata": {"exit": 0},
        "time": {"start": at, "end": at + 800},
    }
    return part(part_id, "tool", message_id, tool="bash", callID=f"call_{part_id}", state=state, stamp_ms=at)


def _measure_growth(browser: Browser, folder: Path, seconds: float) -> list[float]:
    """Watch a session while it is written."""
    data, index = folder / "opencode", folder / "index.duckdb"
    now = int(time.time() * 1000)
    write_sqlite(
        data,
        [
            project(),
            session(created=now),
            user(created=now),
            part("prt_0u", "text", "msg_1u", text="Grow"),
            assistant(created=now, completed=None, cost=0),
            part("prt_0", "step-start"),
        ],
    )
    command = [sys.executable, "-m", "indexer", "run", "--data", str(data), "--db", str(index)]
    with subprocess.Popen(command, cwd=running.ROOT, stderr=subprocess.DEVNULL, start_new_session=True) as indexer:
        try:
            with running.dashboard(index) as base, visiting(browser, base) as visit:
                visit.open("/overview")
                visit.page.get_by_text("following 1 source").wait_for()
                visit.open("/timeline?session=ses_1")
                _wait_for_both(visit.page)
                return _write_and_watch(visit.page, data, seconds)
        finally:
            indexer.terminate()


def _write_and_watch(page: Page, data: Path, seconds: float) -> list[float]:
    """Write tool calls at a steady rate, and note when each is there."""
    started, written, seen = time.monotonic(), list[float](), list[float]()
    while len(seen) < seconds * PER_SECOND:
        if len(written) < min(seconds * PER_SECOND, (time.monotonic() - started) * PER_SECOND):
            number = len(written)
            at = int(time.time() * 1000)
            write_sqlite(data, [_call(f"prt_live{number:04}", "msg_2a", f"live {number}.", at)])
            written.append(time.monotonic())
        # as a person does who follows: of a long exchange, only the rows in sight are drawn
        page.locator(".rows").evaluate(
            "rows => { const grid = rows.closest('.grid'); grid.scrollTop = grid.scrollHeight }"
        )
        newest = _newest_there(page)  # what came before it is there, too, if perhaps out of sight by now
        while len(seen) <= newest:
            seen.append(time.monotonic() - written[len(seen)])
        if time.monotonic() > started + 2 * seconds + 60:
            raise TimeoutError(f"call {len(seen)} of {len(written)} does not appear")
        time.sleep(0.02)
    return seen


def _newest_there(page: Page) -> int:
    """Return the number of the newest call in sight, in the waterfall or in the transcript. -1: there is none."""
    texts = page.locator(".rows .row .text, .detail .piece .title").all_inner_texts()
    return max((int(found) for text in texts for found in re.findall(r"live (\d+)\.", text)), default=-1)


def _wait_for_both(page: Page) -> None:
    """Wait until waterfall and transcript are drawn."""
    page.locator(".rows .row").first.wait_for(state="attached")
    page.locator(".detail .piece").first.wait_for(state="attached")


def _p95(values: list[float]) -> float:
    """Return what 95 of 100 keep below."""
    return statistics.quantiles(values, n=20)[-1]


def report(outcome: Outcome) -> str:
    """Say how long it took."""
    return "\n".join(
        f"  {name}: median {statistics.median(values):.2f} s, p95 {_p95(values):.2f} s, most {max(values):.2f} s"
        for name, values in (
            (f"open {EXCHANGES} exchanges", outcome.opens),
            ("click to transcript", outcome.clicks),
            (f"write to bar at {PER_SECOND} a second", outcome.bars),
        )
    )
