"""The list of wanted differences: finds the entry that a found difference belongs to, and writes the table in
docs/differences.md."""

import json
import re
import tomllib
from pathlib import Path

FILE = Path(__file__).parent / "differences.toml"
ROOT = FILE.parents[2]
PAGE = ROOT / "docs/differences.md"
START, END = "<!-- differences -->", "<!-- /differences -->"


class Rule:
    """One `when` of an entry: what a difference must look like to belong to it."""

    def __init__(self, entry, when):
        unknown = set(when) - {"case", "aspect", "python", "gateway", "status", "general"}
        if unknown or "aspect" not in when:
            raise SystemExit(f"{FILE.name}: a `when` of {entry['what']!r} has {unknown or 'no aspect'}")
        self.entry, self.when, self.used = entry, when, 0
        self.general = when.get("general", False)
        self.run = "kubernetes" if when.get("case", "").startswith("^kubernetes") else "docker"

    def covers(self, case, status, aspect, python, gateway):
        """Whether this difference is of this kind."""
        when = self.when
        fits = (
            ("status" not in when or status in when["status"])
            and re.search(when.get("case", ""), case)
            and re.fullmatch(when["aspect"], aspect, re.S)
            and re.search(when.get("python", ""), shown(python), re.S)
            and re.search(when.get("gateway", ""), shown(gateway), re.S)
        )
        return bool(fits)


def shown(value):
    """A value as rules and people read it: text as it is, `absent`, else JSON."""
    if isinstance(value, str):
        return value
    return "absent" if type(value).__name__ == "_Absent" else json.dumps(value, ensure_ascii=False)


def entries():
    """All entries of the file. Each needs a proof: rules of this run, or the test that shows it."""
    found = tomllib.loads(FILE.read_text())["difference"]
    for entry in found:
        if not ("when" in entry) ^ ("shown" in entry):
            raise SystemExit(f"{FILE.name}: {entry['what']!r} needs either `when` or `shown`")
        if "shown" in entry and not (ROOT / entry["shown"]).exists():
            raise SystemExit(f"{FILE.name}: {entry['what']!r}: there is no {entry['shown']}")
    return found


def rules(run="docker"):
    """The rules of a run. Those whose `case` begins with `^kubernetes` are of the run on Kubernetes alone, which takes
    the others as well."""
    found = [Rule(entry, when) for entry in entries() for when in entry.get("when", [])]
    return [rule for rule in found if run == "kubernetes" or rule.run == run]


def unused(rules, run="docker"):
    """Entries of this run that nothing needed."""
    return [
        f"{FILE.name}: {rule.entry['what']!r} matches nothing: {rule.when}"
        for rule in rules
        if not rule.used and rule.run == run
    ]


def table():
    """The page's table."""
    rows = ["| | Python server 1.1.1 | here |", "|---|---|---|"]
    rows += [f"| {entry['what']} | {entry['python']} | {entry['here']} |" for entry in entries()]
    return "\n".join(rows)


def in_page():
    """The table as the page has it, or None if its markers are missing."""
    found = re.search(f"{START}\n(.*?)\n?{END}", PAGE.read_text(), re.S)
    return found and found[1]


def write():
    """Puts the table into the page."""
    text = PAGE.read_text()
    head, rest = text.split(START)
    PAGE.write_text(f"{head}{START}\n{table()}\n{END}{rest.split(END)[1]}")
