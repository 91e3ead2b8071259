"""Takes the README's screenshots from the sample data: `make screenshots`."""

import os
import sys
import tempfile
from pathlib import Path

from indexer import sample
from tests.browser import running
from tests.browser.visit import WIDE, visiting

FOLDER = running.ROOT / "docs" / "screenshots"
# File name: page and theme.
PICTURES = {
    "costs-light": ("/costs?range=all&by=model", "light"),
    "costs-dark": ("/costs?range=all&by=model", "dark"),
    "sessions-light": ("/sessions?range=all&agent=build", "light"),
    "ledger-light": ("/ledger?range=all", "light"),
}


def main() -> int:
    """Write every picture.

    Returns:
        Exit code: 1 if there is no browser.
    """
    executable = running.browser_path()
    if executable is None:
        print(f"No browser found; looked for {', '.join(running.BROWSERS)}.", file=sys.stderr)
        return 1
    os.environ["OPENCODE_CONFIG"] = str(sample.CONFIGURATION)  # the prices of the models in the sample
    with (
        tempfile.TemporaryDirectory() as scratch,
        running.browser(executable) as browser,
        running.dashboard(running.index_of("json", Path(scratch))) as base,
    ):
        for name, (path, theme) in PICTURES.items():
            with visiting(browser, base, size=WIDE, theme=theme) as visit:
                visit.open(path)
                visit.page.screenshot(path=FOLDER / f"{name}.png")
                print(f"wrote {FOLDER / name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
