"""Compares what the two servers answered, and counts."""

import difflib

import normal
from differences import shown


class Result:
    """Counts of a run, and what is unlisted, as text."""

    def __init__(self):
        self.compared = self.equal = self.listed = 0
        self.unlisted = []


def compare(area, sides, rules, result):
    """Compares the records of one area of both sides, one by one."""
    for pair in _pairs(*(side.records for side in sides)):
        _one(area, pair, sides, rules, result)


def _pairs(python, gateway):
    """Records of the same name, in order. What only one side has (its sandbox was not made, say) stands alone."""
    names = [[record.name for record in records] for records in (python, gateway)]
    for step, low, high, start, end in difflib.SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if step == "equal":
            yield from zip(python[low:high], gateway[start:end])
        else:
            yield from ((record, None) for record in python[low:high])
            yield from ((None, record) for record in gateway[start:end])


def _one(area, pair, sides, rules, result):
    result.compared += 1
    known = pair[1] or pair[0]
    case = f"{area}: {known.name}"
    status = known.answer.status if known.answer else 0
    open_, listed = [], False
    for aspect, *values in _aspects(pair, sides):
        covering = next((rule for rule in rules if rule.covers(case, status, aspect, *values)), None)
        if covering is None:
            open_.append((aspect, *values))
        else:
            covering.used += 1
            listed = listed or not covering.general
    if open_:
        result.unlisted.append(_report(case, known, open_))
    elif listed:
        result.listed += 1
    else:
        result.equal += 1


def _aspects(pair, sides):
    names = [side.names for side in sides]
    if None in pair:
        yield "asked", *("no" if record is None else "yes" for record in pair)
        return
    if pair[0].thing is not None:
        things = [normal_json(record.thing, name) for record, name in zip(pair, names)]
        yield from normal.aspects("thing", *things)
        return
    answers = [record.answer for record in pair]
    statuses = [answer.status for answer in answers]
    if statuses[0] != statuses[1]:
        yield "status", *statuses
    if answers[0].broken != answers[1].broken:
        yield "framing", answers[0].broken, answers[1].broken
    heads = [normal.headers(answer, name) for answer, name in zip(answers, names)]
    for name in sorted(heads[0].keys() | heads[1].keys()):
        values = [head.get(name, normal.ABSENT) for head in heads]
        if values[0] != values[1]:
            yield f"header {name}", *values
    yield from _bodies(answers, names)


def _bodies(answers, names):
    bodies = [normal.body(answer, name) for answer, name in zip(answers, names)]
    found = list(normal.aspects("body", *bodies))
    yield from found
    if not found and not isinstance(bodies[0], str) and "contentLength" not in bodies[0]:
        texts = [normal.written(answer, name) for answer, name in zip(answers, names)]
        if texts[0] != texts[1]:
            yield "body (spelling)", *texts


def normal_json(thing, names):
    """A JSON-like value with everything named."""
    if isinstance(thing, dict):
        return {names.text(key, 0): normal_json(value, names) for key, value in thing.items()}
    if isinstance(thing, list):
        return [normal_json(value, names) for value in thing]
    return names.text(thing, names.now()) if isinstance(thing, str) else thing


def _report(case, record, aspects):
    lines = [case]
    if record.request:
        text = record.request.encode().decode("utf-8", "backslashreplace")
        lines += [
            f"    > {line}"
            for line in text.rstrip().splitlines()[:12]
            if line and not line.lower().startswith(("host:", "open-sandbox-api-key:"))
        ]
    for aspect, python, gateway in aspects[:12]:
        lines += [f"  {aspect}", *_contrast(shown(python), shown(gateway))]
    if len(aspects) > 12:
        lines.append(f"  and {len(aspects) - 12} more aspects")
    return "\n".join(lines)


def _contrast(python, gateway):
    """Two values one above the other; of texts with many lines only the lines that differ."""
    if "\n" not in python + gateway:
        return [f"    python:  {python[:600]}", f"    gateway: {gateway[:600]}"]
    found = difflib.unified_diff(python.splitlines(), gateway.splitlines(), "python", "gateway", lineterm="", n=0)
    return [f"    {line[:200]}" for line in list(found)[:40]]
