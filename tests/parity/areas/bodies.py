"""How bodies are read."""

from . import area
from .service import ID

BROKEN_JSON = [
    "{",
    "{bad",
    "[",
    "]",
    "}",
    "{]",
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,',
    '{"a":1,}',
    '{"a" 1}',
    "{'a':1}",
    "[1,]",
    "[1 2]",
    '"abc',
    "nul",
    "tru",
    "truex",
    "{} x",
    "{}{}",
    "01",
    "-",
    "1.",
    "1e",
    "+1",
    ".5",
    "0x10",
    '"\\x"',
    '"\\u12"',
    '"\\ud800"',
    '"a\nb"',
    '"a\tb"',
    "\ufeff{}",
    " ",
    "\n\n",
    "/* c */ {}",
    '{"a":NaN}',
    "Infinity",
    "-Infinity",
    "NaN",
    '{"é":',
    "undefined",
    "{1:2}",
    '{"a":1 "b":2}',
    "[" * 200,
    "1e400",
    "-0",
    "123456789012345678901234567890",
]


@area("bodies")
def bodies(side):
    """How a body is read: content types, JSON that is none, encodings."""
    for text in BROKEN_JSON:
        side.ask(f"the body {text[:30]!r}", "POST", "/v1/sandboxes", body=text.encode())
    for value in ([], None, "x", 1, 1.5, True, {}, [{}]):
        side.post("/v1/sandboxes", value, f"the body is {value!r}")
        side.ask(f"metadata is {value!r}", "PATCH", f"/v1/sandboxes/{ID}/metadata", json_body=value)
    types = [
        None,
        "",
        "text/plain",
        "text/json",
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;charset=latin-1",
        "application/merge-patch+json",
        "application/vnd.x+json",
        "application/jsonx",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "json",
        "application/",
        "*/*",
        "application/json, text/plain",
        "image/svg+json",
    ]
    for type in types:
        side.ask(f"{{}} as {type!r}", "POST", "/v1/sandboxes", body=b"{}", type=type)
        side.ask(f"an empty body as {type!r}", "POST", "/v1/sandboxes", body=b"", type=type)
    for type in (None, "text/plain", "application/merge-patch+json"):
        side.ask(f"metadata as {type!r}", "PATCH", f"/v1/sandboxes/{ID}/metadata", body=b'{"a":"b"}', type=type)
        side.ask(
            f"a renewal as {type!r}",
            "POST",
            f"/v1/sandboxes/{ID}/renew-expiration",
            body=b'{"expiresAt":"2090-01-01T00:00:00Z"}',
            type=type,
        )
    side.ask("no body at all", "POST", "/v1/sandboxes")
    side.ask("no body at all for a renewal", "POST", f"/v1/sandboxes/{ID}/renew-expiration")
    side.ask("no body at all for metadata", "PATCH", f"/v1/sandboxes/{ID}/metadata")
    for name, body in (
        ("UTF-16", '{"image":1}'.encode("utf-16")),
        ("UTF-16 without a mark", '{"image":1}'.encode("utf-16-le")),
        ("UTF-32", '{"image":1}'.encode("utf-32")),
        ("UTF-8 with a mark", b'\xef\xbb\xbf{"image":1}'),
        ("latin-1", b'{"image":{"uri":"\xe9"}}'),
        ("invalid UTF-8", b'{"image":"\xff\xfe"}'),
        ("a NUL", b'{"image":"\x00"}'),
    ):
        side.ask(f"a body in {name}", "POST", "/v1/sandboxes", body=body)
    side.ask(
        "a chunked body",
        "POST",
        "/v1/sandboxes",
        body=b"2\r\n{}\r\n0\r\n\r\n",
        type="application/json",
        headers=[("Transfer-Encoding", "chunked")],
    )
    side.ask(
        "an empty chunked body",
        "POST",
        "/v1/sandboxes",
        body=b"0\r\n\r\n",
        type="application/json",
        headers=[("Transfer-Encoding", "chunked")],
    )
    side.ask("a member twice", "POST", "/v1/sandboxes", body=b'{"image":1,"image":{"uri":"x"},"resourceLimits":[]}')
    side.ask("deep nesting", "POST", "/v1/sandboxes", body=b'{"image":' + b"[" * 100 + b"]" * 100 + b"}")
    side.ask(
        "large numbers",
        "POST",
        "/v1/sandboxes",
        body=b'{"image":{"uri":"x"},"entrypoint":["a"],"resourceLimits":{},"timeout":123456789012345678901234567890}',
    )
    side.ask("a body with GET", "GET", "/v1/sandboxes?pageSize=0", body=b"{}")
    side.ask("a body with DELETE", "DELETE", f"/v1/sandboxes/{ID}", body=b"{}")
