"""Write a corpus and print its truth: `python -m tests.corpus --size S --generation json --out DIR`."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from tests.corpus import SIZES, STORES, plan_of, truth_of, write


def main(arguments: list[str] | None = None) -> None:
    """Write what the command line asks for; without `--out` only the truth is printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="S", help="2 thousand, 150 thousand or 1 million parts")
    parser.add_argument("--generation", choices=STORES, default="json", help="which stores to write")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another corpus")
    parser.add_argument("--text-scale", type=float, default=1.0, help="factor on the length of texts")
    parser.add_argument("--out", type=Path, help="the data folder to write; must not hold OpenCode storage")
    options = parser.parse_args(arguments)
    if options.out and ((options.out / "storage").exists() or (options.out / "opencode.db").exists()):
        parser.error(f"{options.out} holds OpenCode storage already. Name another folder, or remove it first.")
    plan = replace(plan_of(options.size, options.generation, options.seed), text_scale=options.text_scale)
    truth = write(plan, options.out) if options.out else truth_of(plan)
    written = {"documents": truth.documents, "document_bytes": truth.document_bytes, "contents": truth.contents}
    print(json.dumps({**truth.totals(), **written}, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
