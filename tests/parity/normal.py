"""Makes two answers comparable: what must differ from run to run and from server to server gets a name."""

import json
import re
from datetime import UTC, datetime

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)")
SKIPPED_HEADERS = {"date", "content-length"}
"""`date` differs by nature; `content-length` is checked against the body while reading."""


class Names:
    """The names that one server's ids, ports and hosts get. Filled while its answers come in."""

    def __init__(self, server, token):
        self.known = {token: "<token>"}
        self.ports = (server.port, *server.ports)
        self.home = str(server.home)

    def learn(self, value, name):
        """From now on `value` reads `name`."""
        self.known.setdefault(value, name)

    def text(self, text, now, exact=True):
        """`text` with everything named. Unless `exact`, the number of a time's decimals does not count: the engine's own
        times have as many as they need."""
        for value, name in self.known.items():
            # A port may well be a part of someone's id.
            word = rf"\b{value}\b" if value.isdigit() else re.escape(value)
            text = re.sub(word, name, text)
        text = UUID.sub("<uuid>", text)
        text = TIME.sub(lambda found: _time(found, now, exact), text)
        text = text.replace(self.home, "<home>")
        # The first decimal is the machine's.
        text = re.sub(r"\bElapsed: (\d+)\.\ds", r"Elapsed: \1.<n>s", text)
        text = re.sub(r"\b[0-9a-f]{64}\b", "<hash>", text)
        text = re.sub(r"\b(?=[a-f]*\d)[0-9a-f]{12}\b", "<short hash>", text)
        text = re.sub(r"\b[12]\d{9}\b", lambda found: _seconds(found[0], now), text)
        text = re.sub(r"\b172\.\d+\.\d+\.\d+\b", "<ip>", text)
        return re.sub(r"\b\d{4,5}\b", lambda found: self._port(found[0]), text)

    @staticmethod
    def now():
        """Seconds since 1970, for things that have no time of their own."""
        return datetime.now(UTC).timestamp()

    def _port(self, digits):
        own, low, high = self.ports
        if int(digits) == own:
            return "<server>"
        return "<port>" if low <= int(digits) <= high else digits


def _seconds(digits, now):
    """Seconds since 1970 that are those of the clock."""
    return "<now s>" if abs(int(digits) - now) < 600 else digits


def _time(found, now, exact):
    """Fixed times of the corpus stay as they are; those of the clock keep their form only."""
    try:
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return found[0]
    if abs(moment - now) > 2 * 86400:
        return found[0]
    digits = len(found[2] or "")
    form = "" if digits == 0 else ".us" if digits == 7 and exact else ".ns"
    # Rounded coarsely, since the two servers answer at slightly different times.
    ahead = round((moment - now) / 600)
    return f"<{'now' if ahead <= 0 else f'+{ahead * 10} min'}{form}{found[3]}>"


def headers(answer, names):
    """The headers to compare, values of repeated ones joined, without those that say nothing."""
    found = {}
    for name, value in answer.headers:
        if name in SKIPPED_HEADERS:
            continue
        value = names.text(value, answer.at)
        if name == "x-request-id" and re.fullmatch(r"[0-9a-f]{32}", value):
            value = "<request id>"
        if name == "allow":
            # The order says nothing, and is another one at each start of the Python server.
            value = ", ".join(sorted(value.split(", ")))
        found[name] = f"{found[name]} | {value}" if name in found else value
    return found


def body(answer, names):
    """The body: parsed if it is JSON, else text."""
    text = written(answer, names)
    if (answer.header("content-type") or "").startswith("application/json"):
        try:
            return _checked(json.loads(text, object_pairs_hook=Ordered), answer)
        except ValueError:
            return text
    return text


def written(answer, names):
    """The body's text. Diagnostics show the engine's times."""
    raw = answer.body.decode("utf-8", "backslashreplace")
    is_json = (answer.header("content-type") or "").startswith("application/json")
    return names.text(raw, answer.at, exact=is_json and "contentLength" not in raw)


def _checked(value, answer):
    """`contentLength` of diagnostics depends on the times within the content; that it is right does not."""
    if isinstance(value, dict) and "contentLength" in value:
        raw = json.loads(answer.body)
        if raw["contentLength"] == len(raw.get("content", "").encode()):
            value["contentLength"] = "<as the content>"
    return value


class Ordered(dict):
    """A JSON object that knows the order of its members."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.order = [name for name, _ in pairs]


def aspects(path, python, gateway):
    """Yields `(path, python's value, the gateway's)` for every leaf in which two values differ; ABSENT where there is none."""
    if isinstance(python, dict) and isinstance(gateway, dict):
        for key in [*python, *(key for key in gateway if key not in python)]:
            yield from aspects(f"{path}.{key}", python.get(key, ABSENT), gateway.get(key, ABSENT))
        yield from _order(path, python, gateway)
    elif isinstance(python, list) and isinstance(gateway, list):
        for index in range(max(len(python), len(gateway))):
            yield from aspects(f"{path}[{index}]", *(_at(side, index) for side in (python, gateway)))
    elif type(python) is not type(gateway) or python != gateway:
        yield path, python, gateway


def _order(path, python, gateway):
    orders = [
        [key for key in getattr(side, "order", []) if key in python and key in gateway] for side in (python, gateway)
    ]
    if orders[0] != orders[1]:
        yield f"{path} (order)", orders[0], orders[1]


def _at(items, index):
    return items[index] if index < len(items) else ABSENT


class _Absent:
    def __repr__(self):
        return "absent"


ABSENT = _Absent()
