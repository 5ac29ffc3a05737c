"""Lists, and what is asked of sandboxes that are not."""

from . import area
from .service import ID


@area("list")
def listing(side):
    """Lists with filters and pages. All carry the side's token, since both servers see all sandboxes."""
    mine = f"run%3D{side.token}"
    for number in range(3):
        side.create(
            f"create number {number}",
            metadata={"run": side.token, "number": str(number), "parity": str(number % 2), "empty": ""},
        )
    ended = side.create("create one that ends", metadata={"run": side.token}, entrypoint=["sh", "-c", "exit 0"])
    side.until(f"/v1/sandboxes/{ended}", lambda seen: seen.get("status", {}).get("state") == "Terminated")
    paused = side.create("create one to pause", metadata={"run": side.token})
    side.post(f"/v1/sandboxes/{paused}/pause")
    queries = [
        "",
        "&page=1",
        "&page=2",
        "&pageSize=1",
        "&pageSize=2&page=2",
        "&pageSize=2&page=3",
        "&pageSize=2&page=4",
        "&page=999999",
        "&pageSize=200",
        "&page_size=1",
        "&state=Running",
        "&state=running",
        "&state=RUNNING&state=Paused",
        "&state=Terminated",
        "&state=nope",
        "&state=",
        "&state=Running,Paused",
        "&State=Running",
        "&page=1&page=2",
        "&pageSize=",
        "&page=",
        "&unknown=1",
        "&page=01",
        "&page=%2B1",
        "&page=1.0",
        "&page=%201",
        "&page=1_0",
    ]
    for query in queries:
        side.get(f"/v1/sandboxes?metadata={mine}{query}")
    side.get(f"/sandboxes?metadata={mine}")
    filters = [
        "%26number%3D1",
        "%26number%3D1%26number%3D2",
        "%26number%3D",
        "%26empty%3D",
        "%26parity%3D0",
        "%26nope%3Dx",
        "%26broken",
        "%26",
        "%26%26number%3D1",
        "%26number%253D1",
        "%26number%3D1%2B",
        "%26=x",
        "%26number%3D1%3D2",
        "%26 number%3D1",
        "%26%20number%20%3D1",
        ";number%3D1",
    ]
    for more in filters:
        side.get(f"/v1/sandboxes?metadata={mine}{more}".replace(" ", "+"))
    for query in (
        "metadata=broken",
        "metadata=a%3Db%26broken",
        "metadata=",
        "metadata=%3D",
        "metadata",
        "metadata=%ff",
        "metadata=a%3Db&metadata=" + mine,
        f"metadata={mine}&metadata=a%3Db",
    ):
        side.get(f"/v1/sandboxes?{query}&state=nope")
    for query in (
        "page=0",
        "page=-1",
        "page=x",
        "page=1.5",
        "page=9999999999999999999999",
        "pageSize=0",
        "pageSize=201",
        "pageSize=x",
        "pageSize=-5",
        "page=x&pageSize=y",
        "page=%00",
        "page=true",
        "page=0x1",
        "page=1e1",
    ):
        side.get(f"/v1/sandboxes?{query}&state=nope")
    for path in ("nope", ID, "fsb-1", "sandbox-x", "-", "a" * 300):
        side.get(f"/v1/sandboxes/{path}")
        side.delete(f"/sandboxes/{path}")
