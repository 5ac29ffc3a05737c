"""The fenced blocks of the documents, each with the annotation that says how it is tried."""

import json
import re
import tomllib
from dataclasses import dataclass, field

RUNTIMES = ("dev", "docker", "kubernetes")
"""What a block of commands runs on."""

PLACES = (*RUNTIMES, "here")
"""The same, and commands that need no server."""

DATA = ("text", "json", "ndjson")
"""Languages of blocks that need no annotation: nobody runs them."""

KINDS = ("run", "config", "file", "tested by", "not run")
"""The kinds of annotations."""

OPTIONS = {"serves", "defines"}
"""The options of `run`, behind a semicolon."""

HELP = """\
A comment right above a block says how it is tried. A block without one fails, but for those of text, json and ndjson.

  <!-- run: dev -->           its commands run on that runtime: dev, docker, kubernetes; or `here`, without a server. The gateway
                              is started if the document has not started it. Lines behind the first are run before, unseen
                              by the reader: `export ID=$(sandbox 'echo hello')` makes a sandbox and has its id;
                              its name, other metadata and `IMAGE=` may be given too: `sandbox SCRIPT web team=infra`.
                              Of a block in Python or JavaScript they are in its language, or begin with `$ `
  <!-- run: dev; serves -->   its last command is a server, and runs on. `serves 8081`: it listens on that port
  <!-- run: dev; defines -->  of a Python block: what it defines is there for those below
  <!-- config: docker -->     the gateway starts with this configuration on that runtime, and does not warn of it
  <!-- file: PATH -->         the block is in this file from the beginning of the document
  <!-- tested by: FILE -->    this test has it: the file names the document, or has a line of the block
  <!-- not run: WHY -->       it cannot be run by a test

A console block has commands behind `$ `, and what they print: `…` is any text, a line of it alone any lines, and times, ids,
tokens, ports and durations are those of the run. Where `^C` stands, the command is interrupted. An id that was shown is the real
one in the commands below it. `>>> ` behind `$ python3` is a session of Python, as doctest knows it. All other blocks of commands
must end with 0. `…` as the value of a variable or a key, and `5f1c…e2`, are the gateway's key."""


class Fault(Exception):
    """What is wrong with a block."""


@dataclass
class Block:
    """A fenced block: its language, its text, and its annotation."""

    document: str
    line: int
    language: str
    text: str
    kind: str = ""
    value: str = ""
    options: dict = field(default_factory=dict)
    prelude: str = ""

    def __str__(self):
        return f"{self.document}:{self.line}"


ANNOTATION = re.compile(r"<!-- *(%s): *(.*?) *-->\s*\Z" % "|".join(KINDS), re.DOTALL)


def blocks(document, text):
    """The blocks of a document."""
    lines, found, before, number = text.split("\n"), [], [], 0
    while number < len(lines):
        fence = re.match(r"( *)```(\S*)", lines[number])
        if not fence:
            before.append(lines[number])
            number += 1
            continue
        indent, language, first = fence[1], fence[2], number + 1
        number = first
        while number < len(lines) and lines[number] != f"{indent}```":
            number += 1
        if number == len(lines):
            raise Fault(f"{document}:{first}: the block has no end")
        body = "".join(line.removeprefix(indent) + "\n" for line in lines[first:number])
        block = Block(document, first, language, body)
        annotate(block, "\n".join(before))
        found.append(block)
        before, number = [], number + 1
    return found


def annotate(block, before):
    """Puts the annotation that stands right above into the block, and checks what needs no server."""
    start = before.rfind("<!--")
    match = ANNOTATION.match(before, start) if start >= 0 and before.endswith("-->") else None
    if match:
        first, _, block.prelude = match[2].partition("\n")
        block.kind, block.value = match[1], first.strip()
    if block.kind == "run":
        block.value, *options = (part.strip() for part in block.value.split(";"))
        block.options = dict(option.partition(" ")[::2] for option in options)
        if unknown := block.options.keys() - OPTIONS:
            raise Fault(f"{block}: no option of `run`: {', '.join(unknown)}")
        if block.value not in PLACES:
            raise Fault(f"{block}: runs on one of {', '.join(PLACES)}, not on {block.value!r}")
    if block.kind == "config" and block.value not in RUNTIMES:
        raise Fault(f"{block}: a configuration for one of {', '.join(RUNTIMES)}, not for {block.value!r}")
    if block.kind in ("file", "tested by", "not run") and not block.value:
        raise Fault(f"{block}: `{block.kind}:` needs a word behind it")
    if not block.kind and block.language not in DATA:
        raise Fault(f"{block}: no comment above the block says how it is tried (scripts/documents --help)")
    parse(block)


def parse(block):
    """Reads what has a parser in the standard library."""
    try:
        if block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "ndjson":
            [json.loads(line) for line in block.text.splitlines()]
    except ValueError as error:
        raise Fault(f"{block}: is no {block.language}: {error}") from error
