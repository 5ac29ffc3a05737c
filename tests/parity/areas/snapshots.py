"""Snapshots: made, listed, restored from, deleted."""

from side import DROP, sandbox

from . import area
from .service import ID


@area("snapshots")
def snapshots(side):
    """A source, two snapshots of it, and what can be asked of them."""
    source = side.create("create the source", metadata={"of": "source"}, timeout=3600, env={"SECRET": "s"})
    path = f"/v1/sandboxes/{source}/snapshots"
    for body in ({"name": ""}, {"name": 1}, {"name": []}, [], "x", 1):
        side.post(path, body, f"snapshot with {body!r}")
        side.post(f"/v1/sandboxes/{ID}/snapshots", body, f"snapshot of none with {body!r}")
    for body in ({}, None, {"name": "n"}):
        side.post(f"/v1/sandboxes/{ID}/snapshots", body, f"snapshot of none with {body!r}")
    side.ask("snapshot of none without a body", "POST", f"/v1/sandboxes/{ID}/snapshots")
    side.ask("snapshot with broken JSON", "POST", path, body=b"{")
    side.ask("snapshot as text", "POST", path, body=b"{}", type="text/plain")
    made = []
    for what, asked in (
        ("a name", {"json_body": {"name": f"one-{side.token}", "more": 1}}),
        ("an empty object", {"json_body": {}}),
        ("null", {"json_body": None}),
        ("no body", {}),
    ):
        made.append(side.adopt(side.ask(f"snapshot with {what}", "POST", path, **asked)))
        side.until(f"/v1/snapshots/{made[-1]}", lambda seen: seen.get("status", {}).get("state") != "Creating")
        side.get(f"/v1/snapshots/{made[-1]}", f"get the snapshot with {what}")
    made.append(
        side.adopt(side.post(path.removeprefix("/v1"), {"name": f"root-{side.token}"}, "snapshot at the root mount"))
    )
    side.until(f"/v1/snapshots/{made[-1]}", lambda seen: seen.get("status", {}).get("state") != "Creating")
    queries = [
        "",
        "&page=1&pageSize=2",
        "&page=2&pageSize=2",
        "&page=3&pageSize=2",
        "&page=99",
        "&state=Ready",
        "&state=ready",
        "&state=Failed",
        "&state=Ready&state=Failed",
        "&state=",
        "&state=nope",
        f"&name=one-{side.token}",
        "&name=",
        "&name=nope",
        f"&name=one-{side.token}&state=Ready&pageSize=1",
        "&page_size=1",
        "&name=a&name=b",
    ]
    for query in queries:
        side.get(f"/v1/snapshots?sandboxId={source}{query}")
    side.get(f"/snapshots?sandboxId={source}&pageSize=1")
    for query in (
        "sandboxId=nope",
        f"sandboxId=&name=root-{side.token}",
        f"name=root-{side.token}",
        f"sandbox_id=nope&name=root-{side.token}",
        "page=0",
        "page=x",
        "pageSize=0",
        "pageSize=201",
        "pageSize=x",
        "page=-1&pageSize=x",
    ):
        side.get(f"/v1/snapshots?{query}")
    for path in (ID, "nope", "%20", "a" * 200):
        side.get(f"/v1/snapshots/{path}")
        side.delete(f"/v1/snapshots/{path}")
    restore(side, made[0])
    side.delete(f"/v1/sandboxes/{source}", "delete the source")
    side.get(f"/v1/snapshots/{made[0]}", "the snapshot outlives its source")
    for snapshot in made:
        side.delete(f"/v1/snapshots/{snapshot}")
        side.get(f"/v1/snapshots/{snapshot}", "get after delete")
        side.delete(f"/v1/snapshots/{snapshot}", "delete again")
    side.post("/v1/sandboxes", sandbox(image=DROP, snapshotId=made[0]), "restore from what is deleted")


def restore(side, snapshot):
    """Sandboxes from a snapshot, in all forms."""
    for fields in (
        {"entrypoint": DROP},
        {"timeout": None},
        {"metadata": {"of": "restored"}, "env": {"MORE": "1"}},
        {"image": {"uri": ""}},
        {"platform": {"os": "linux", "arch": "amd64"}},
    ):
        made = side.create(
            f"restore with {sorted(fields)}", inspect=True, **{"image": DROP, "snapshotId": snapshot, **fields}
        )
        if made is None:
            continue
        side.get(f"/v1/sandboxes/{made}", f"get what is restored with {sorted(fields)}")
        side.post(
            f"/v1/sandboxes/{made}/renew-expiration",
            {"expiresAt": "2090-01-01"},
            f"renew what is restored with {sorted(fields)}",
        )
        side.delete(f"/v1/sandboxes/{made}")
    side.create("restore and an image", snapshotId=snapshot)
    side.create("restore without limits", image=DROP, snapshotId=snapshot, resourceLimits=DROP)
    used = side.create("restore, to delete the snapshot meanwhile", image=DROP, snapshotId=snapshot)
    side.delete(f"/v1/sandboxes/{used}")
