"""Renewal, to times of all forms."""

from . import area
from .service import ID

TIMES = [
    "2090-12-01T00:00:00Z",
    "2090-12-01T00:00:00z",
    "2090-12-01t00:00:00Z",
    "2090-12-01 00:00:00Z",
    "2090-12-01_00:00:00Z",
    "2090-12-01T00:00:00+02:00",
    "2090-12-01T00:00:00+0200",
    "2090-12-01T00:00:00-23:59",
    "2090-12-01T00:00:00+24:00",
    "2090-12-01T00:00:00 +02:00",
    "2090-12-01T00:00:00−02:00",
    "2090-12-01T00:00:00+02",
    "2090-12-01T00:00:00",
    "2090-12-01T00:00",
    "2090-12-01T00",
    "2090-12-01",
    "2090-12",
    "2090",
    "2090-12-01T",
    "2090-12-01Z",
    "2090-12-01T00:00Z",
    "2090-12-01T00:00:00.1Z",
    "2090-12-01T00:00:00.12Z",
    "2090-12-01T00:00:00.123Z",
    "2090-12-01T00:00:00.1234567Z",
    "2090-12-01T00:00:00.123456789Z",
    "2090-12-01T00:00:00.1234567891Z",
    "2090-12-01T00:00:00.Z",
    "2090-12-01T00:00:00,5Z",
    "2090-12-01T00:00:00.000000Z",
    "2090-12-01T00:00:00.000001Z",
    "2090-12-01T00:00:00.9999999Z",
    "2090-12-01T24:00:00Z",
    "2090-12-01T23:60:00Z",
    "2090-12-01T00:00:60Z",
    "2090-13-01T00:00:00Z",
    "2090-12-32T00:00:00Z",
    "2090-02-29T00:00:00Z",
    "2092-02-29T00:00:00Z",
    "2090-00-01T00:00:00Z",
    "2090-12-00T00:00:00Z",
    "20901201T000000Z",
    "20901201",
    "2090/12/01",
    "2090-1-1",
    "12/01/2090",
    "2090-335",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999Z",
    "10000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "1970-01-01T00:00:00Z",
    "2020-01-01T00:00:00Z",
    "-2090-12-01T00:00:00Z",
    "9999-12-31T23:59:59-01:00",
    "0001-01-01T00:00:00+01:00",
    3816547200,
    3816547200.5,
    3816547200000,
    3816547200000.5,
    "3816547200",
    "3816547200.25",
    "3816547200000",
    " 3816547200 ",
    "+3816547200",
    "3.8165472e9",
    3.8165472e9,
    0,
    -1,
    1,
    20000000000,
    20000000001,
    1e18,
    -1e18,
    253402300799,
    253402300800,
    253402300799999,
    3816547200.1234567,
    "1e400",
    "nan",
    "inf",
    "NaN",
    "0",
    "-1",
    "",
    " ",
    "x",
    "now",
    "tomorrow",
    "P1D",
    " 2090-12-01T00:00:00Z",
    "2090-12-01T00:00:00Z ",
    "2090-12-01T00:00:00ZZ",
    "2090-12-01T00:00:00GMT",
    "2090-12-01T00:00:00UTC",
    "Fri, 01 Dec 2090 00:00:00 GMT",
    None,
    True,
    False,
    [],
    {},
    ["2090-12-01T00:00:00Z"],
    "２０９０-12-01",
]


@area("renew")
def renew(side):
    """Times in all forms."""
    made = side.create("create")
    path = f"/v1/sandboxes/{made}/renew-expiration"
    for time in TIMES:
        side.post(path, {"expiresAt": time}, f"renew to {time!r}")
    for body in (
        {},
        {"expires_at": "2090-01-01T00:00:00Z"},
        {"expiresat": "2090-01-01"},
        {"expiresAt": "2090-01-01", "more": 1},
        {"expiresAt": "2091-01-01", "expires_at": "2092-01-01"},
        [],
        "x",
    ):
        side.post(path, body, f"renew with {body}")
    side.get(f"/v1/sandboxes/{made}", "get after renewals")
    side.post(path.removeprefix("/v1"), {"expiresAt": "2089-01-01"}, "renew at the root mount: shorter")
    side.get(f"/v1/sandboxes?metadata=run%3D{side.token}", "list after renewals")
    for what, body in (
        ("a future time", {"expiresAt": "2090-01-01"}),
        ("a past time", {"expiresAt": "2001-01-01"}),
        ("no time", {"expiresAt": "x"}),
    ):
        side.post(f"/v1/sandboxes/{ID}/renew-expiration", body, f"renew none to {what}")
    manual = side.create("create without a timeout", timeout=None)
    for what, body in (
        ("a future time", {"expiresAt": "2090-01-01"}),
        ("a past time", {"expiresAt": "2001-01-01"}),
        ("no time", {"expiresAt": "x"}),
    ):
        side.post(f"/v1/sandboxes/{manual}/renew-expiration", body, f"renew one without timeout to {what}")
