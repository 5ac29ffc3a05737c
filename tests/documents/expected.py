"""What a console block shows, as a pattern for what its command prints."""

import re

VARYING = re.compile(
    r"(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"|(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
    r"|(?P<address>127\.0\.0\.1:[1-6]\d{4})"
    r"|(?P<token>v1\.[0-9a-f.o]{12,})"
    r"|(?P<number>\d{15,})"
    r"|(?P<span>(?:\d+(?:ms|s|m|h|d))+\b)"
    r"|(?P<any>…)"
)
"""What is another one in each run."""

FORMS = {
    "id": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "time": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?",
    "address": r"127\.0\.0\.1:\d{4,5}",
    "token": r"v1\.[\w.-]+",
    "number": r"\d{10,}",
    "span": r"(?:\d+(?:ms|s|m|h|d))+",
    "any": r"[^\n]*?",
}

KEPT = ("id", "token", "number")
"""What a reader takes from an output into a later command."""


class Expected:
    """The lines that a command should print."""

    def __init__(self, lines):
        self.shown = []
        parts = []
        for line in lines:
            if line.strip() in ("…", "..."):
                parts.append(r"(?:[^\n]*\n)*?")
                continue
            parts.append(self.line(line.rstrip()) + r"[ \t]*\n")
        self.pattern = re.compile("".join(parts))

    def line(self, text):
        """The pattern of one line. Blanks that align columns may be more or fewer."""
        text, pattern, at = text.replace("5f1c…e2", "…"), "", 0
        for found in VARYING.finditer(text):
            pattern += self.literal(text[at : found.start()])
            kind, at = found.lastgroup, found.end()
            if kind in KEPT:
                self.shown.append(found[0])
                pattern += f"({FORMS[kind]})"
            else:
                pattern += FORMS[kind]
        return pattern + self.literal(text[at:])

    @staticmethod
    def literal(text):
        """The text itself."""
        return re.sub(r"(?:\\ ){2,}", r" {2,}", re.escape(text))

    def match(self, printed, is_whole):
        """Whether this was printed: all of it, or at its beginning. Returns the ids that the document shows, each with the real
        one; None if it is something else."""
        printed = printed.replace("\r\n", "\n")
        printed = printed if printed.endswith("\n") or not printed else printed + "\n"
        found = self.pattern.fullmatch(printed) if is_whole else self.pattern.match(printed)
        return dict(zip(self.shown, found.groups())) if found else None
