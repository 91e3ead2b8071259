"""Fails where a package that users install has a known vulnerability: `python -m tests.audit requirements.txt`.

It asks about the versions that are installed here: those of the requirements, and of all that they need themselves.
Without a network, and for packages that no service knows, it says loudly that nothing was found out, and passes.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Options of pip-audit that choose who is asked: the second only about what the first does not know.
SERVICES = (("--vulnerability-service", "pypi"), ("--vulnerability-service", "osv"))
_NO_NETWORK = re.compile(r"\b(?:ConnectionError|ConnectTimeout|ReadTimeout|ProxyError)\b|Could not connect to")


class Unreachable(Exception):
    """A service cannot be asked from here."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a service said.

    Attributes:
        found: A sentence for each known vulnerability.
        unknown: Pins of which the service knows nothing.
    """

    found: list[str]
    unknown: list[str]


def pins(requirements: Iterable[str]) -> list[str]:
    """List what is installed for some requirements, as `name==version`, sorted.

    Args:
        requirements: Lines of a requirements file; comments and empty lines are left out.

    Raises:
        PackageNotFoundError: One of them is not installed.
    """
    lines = (line.split("#")[0].strip() for line in requirements)
    waiting = [Requirement(line) for line in lines if line]
    seen: set[tuple[str, str]] = set()
    versions: dict[str, str] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            package = distribution(name)
            versions[name] = package.version
            needed = (Requirement(line) for line in package.requires or ())
            waiting += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def ask(wanted: Sequence[str], service: Sequence[str]) -> Report:
    """Ask a service about some packages.

    Args:
        wanted: Pins, at least one.
        service: Options of pip-audit that choose it.

    Raises:
        Unreachable: The service cannot be asked.
        RuntimeError: It failed in another way.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(wanted))
        file.flush()
        options = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--desc", "off")
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, *options, *service]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if not run.stdout.strip():
        last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        raise Unreachable(last) if _NO_NETWORK.search(last) else RuntimeError(f"pip-audit failed:\n{run.stderr}")
    return _report(run.stdout, wanted)


def main(requirements: Path, services: Sequence[Sequence[str]] = SERVICES) -> int:
    """Audit a requirements file and print what is known.

    Args:
        requirements: The file.
        services: Whom to ask, one after another, as options of pip-audit.

    Returns:
        Exit code: 1 if a vulnerability is known. 0 also if nobody could be asked, which is said.
    """
    wanted = pins(requirements.read_text(encoding="utf-8").splitlines())
    waiting, found = wanted, list[str]()
    for service in services:
        if not waiting:
            break
        try:
            report = ask(waiting, service)
        except Unreachable as error:
            print(f"Audit: {' '.join(service)} cannot be reached: {error}")
            continue
        found += report.found
        waiting = report.unknown
    print("\n".join([*found, f"Audit: {len(wanted) - len(waiting)} of {len(wanted)} packages, {len(found)} problems."]))
    if waiting:
        print(f"*** NOT AUDITED, so vulnerabilities in them are NOT ruled out: {', '.join(waiting)}")
    return 1 if found else 0


def _report(answer: str, wanted: Sequence[str]) -> Report:
    """Read what pip-audit printed as JSON. What it does not mention counts as unknown."""
    found, known = [], set()
    for package in json.loads(answer)["dependencies"]:
        if "skip_reason" in package:
            continue
        pin = f"{canonicalize_name(package['name'])}=={package['version']}"
        known.add(pin)
        for problem in package["vulns"]:
            fixed = ", ".join(problem["fix_versions"]) or "no version yet"
            found.append(f"VULNERABLE: {pin}: {problem['id']}, fixed in {fixed}")
    return Report(found, [pin for pin in wanted if pin not in known])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
