"""Reads logs on `dev` with httpx and with requests: in each format, over cuts, and to the 204 of a log that has ended. The resuming
client is the one of docs/log-recipes.md, as it is written there."""

import base64
import json
import os
import re
import sys
import time
from pathlib import Path

import httpx
import requests

from cutting_proxy import CuttingProxy
from report import Report

ROOT = Path(__file__).resolve().parents[2]
DOMAIN, KEY = os.environ["OPEN_SANDBOX_DOMAIN"], os.environ["OPEN_SANDBOX_API_KEY"]
URL = f"http://{DOMAIN}"
HEADERS = {"OPEN-SANDBOX-API-KEY": KEY}
LINES = 400
SCRIPT = f"for i in $(seq {LINES}); do echo $i; [ $((i % 20)) != 0 ] || sleep 0.05; done; printf 'bytes \\377\\n' >&2; exit 7"


def recipe():
    """The Python function of the documentation."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/log-recipes.md").read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    exec(blocks[0], names)  # noqa: S102 - it is what a reader would paste
    return names["records"]


def create(script):
    """A sandbox that runs the script."""
    body = {"image": {"uri": "any"}, "entrypoint": ["/bin/sh", "-c", script], "timeout": 300, "resourceLimits": {}}
    answer = httpx.post(f"{URL}/v1/sandboxes", json=body, headers=HEADERS, timeout=30)
    answer.raise_for_status()
    return answer.json()["id"]


def text(record):
    """What a record has of the log."""
    return base64.b64decode(record["log_base64"]) if "log_base64" in record else record.get("log", "").encode()


EXPECTED = b"".join(b"%d\n" % number for number in range(1, LINES + 1))


def over_cuts(report):
    """The documentation's client, with every connection cut."""
    proxy = CuttingProxy(int(DOMAIN.rsplit(":", 1)[1]), 3000)
    sandbox = create(SCRIPT)
    got = list(recipe()(f"http://127.0.0.1:{proxy.port}", sandbox, KEY))
    proxy.close()
    stdout = b"".join(text(record) for record in got if record.get("stream") == "stdout")
    report.check("every line once over cuts", stdout == EXPECTED, stdout[-200:])
    report.check("it was cut", proxy.connections > 5, proxy.connections)
    stderr = b"".join(text(record) for record in got if record.get("stream") == "stderr")
    report.check("bytes that are no text", stderr == b"bytes \xff\n", stderr)
    ends = [record for record in got if record.get("event") == "end"]
    report.check("the end", ends and ends[-1]["reason"] == "exited" and ends[-1]["exit_code"] == 7, ends)
    return sandbox


def formats(report, sandbox):
    """Each format by each client."""
    url = f"{URL}/v1/sandboxes/{sandbox}/logs"
    plain = httpx.get(url, headers=HEADERS).content
    ndjson = requests.get(url, headers=HEADERS | {"Accept": "application/x-ndjson"}, stream=True, timeout=(10, 60))
    report.check("NDJSON by Accept", ndjson.headers["content-type"].startswith("application/x-ndjson"), ndjson.headers)
    records = [json.loads(line) for line in ndjson.iter_lines()]
    report.check("records have the text's bytes", b"".join(map(text, records)) == plain, len(plain))
    ids = [record["id"] for record in records if "event" not in record]
    report.check("ids differ", len(set(ids)) == len(ids))
    report.check("a log that is not followed is complete", records[-1]["reason"] == "complete", records[-1])
    sse = httpx.get(url, headers=HEADERS | {"Accept": "text/event-stream"}).text
    data = [json.loads(line[6:]) for line in sse.splitlines() if line.startswith("data: ")]
    report.check("SSE has the same", b"".join(map(text, data)) == plain and sse.startswith("retry: 2000\n"), sse[:200])
    middle = records[len(records) // 2]
    rest = requests.get(url, params={"after": middle["id"]}, headers=HEADERS, timeout=30).content
    report.check("text resumes behind a record", plain.endswith(rest) and plain.index(rest) == sum(
        len(text(record)) for record in records[: len(records) // 2 + 1]), rest[:50])
    tail = httpx.get(url, params={"tail": 3, "stdout": "true", "stderr": "false"}, headers=HEADERS).content
    report.check("a tail of one stream", tail == EXPECTED[-12:], tail)
    found = httpx.get(url, params={"grep": "^39[0-9]$", "tail": 2}, headers=HEADERS).content
    report.check("a tail of what was found", found == b"398\n399\n", found)
    followed = httpx.get(url, params={"follow": "true", "format": "ndjson", "tail": 1}, headers=HEADERS, timeout=30)
    end = json.loads(followed.text.splitlines()[-1])
    over = requests.get(url, params={"follow": "true", "after": end["id"]}, headers=HEADERS, timeout=30)
    report.check("204 behind the end", over.status_code == 204, over.status_code)
    bad = httpx.get(url, params={"after": "v1.x"}, headers=HEADERS)
    report.check("a token of nobody", bad.status_code == 400 and bad.json()["code"] == "LOGS::INVALID_CURSOR", bad.text)


def left(report):
    """A reader that leaves costs nothing more."""
    sandbox = create("while :; do echo x; sleep 0.01; done")
    url = f"{URL}/v1/sandboxes/{sandbox}/logs"
    with httpx.stream("GET", url, params={"follow": "true", "format": "sse"}, headers=HEADERS, timeout=30) as answer:
        lines = answer.iter_lines()
        first = next(lines)
    report.check("SSE begins with the time to come back", first == "retry: 2000", first)
    start = time.monotonic()
    gone = httpx.delete(f"{URL}/v1/sandboxes/{sandbox}", headers=HEADERS, timeout=30)
    report.check("its sandbox can be deleted", gone.status_code == 204 and time.monotonic() - start < 10, gone.status_code)


def main():
    """All of it."""
    report = Report("logs by httpx and requests")
    sandbox = None
    try:
        sandbox = over_cuts(report)
        formats(report, sandbox)
        left(report)
    except Exception:  # noqa: BLE001 - any failure is a failed step
        report.broke("logs")
    finally:
        if sandbox:
            httpx.delete(f"{URL}/v1/sandboxes/{sandbox}", headers=HEADERS, timeout=30)


if __name__ == "__main__":
    sys.exit(main())
