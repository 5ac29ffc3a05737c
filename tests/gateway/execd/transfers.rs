//! Files that are sent and fetched.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

const BOUNDARY: &str = "opensandbox_0";

/// A multipart body of these parts: their heads and their contents.
fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

const METADATA: &str = "name=\"metadata\"; filename=\"metadata\"";
const FILE: &str = "name=\"file\"; filename=\"x\"";

impl Sandbox<'_> {
    fn upload_head(&self, framing: &str) -> String {
        let content_type = format!("Content-Type: multipart/form-data; boundary={BOUNDARY}");
        format!(
            "POST {}/files/upload HTTP/1.1\r\nHost: localhost\r\n{}\r\n{content_type}\r\n{framing}\r\n\r\n",
            self.base,
            self.lines()
        )
    }

    async fn upload(&self, body: &[u8]) -> Response {
        let mut client = Client::connect(self.gateway.address()).await;
        client.send(self.upload_head(&format!("Content-Length: {}", body.len()))).await;
        client.try_send(body).await;
        Response { head: client.head().await, body: client.body().await.unwrap() }
    }

    async fn download(&self, query: &str, lines: &[&str]) -> Response {
        let token = self.lines();
        let lines: Vec<&str> = lines.iter().copied().chain([&*token]).collect();
        request(self.gateway.address(), "GET", &format!("{}/files/download?{query}", self.base), &lines, "").await
    }
}

#[tokio::test]
async fn files_are_sent_in_pairs_of_parts() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let work = sandbox.work().await;
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    fs::write(work.join("old"), "old").unwrap();
    symlink("old", work.join("link")).unwrap();
    // As an ordinary open does: what a link leads to is made, but not the directory that it would be in.
    fs::create_dir(work.join("there")).unwrap();
    symlink("there/2nd", work.join("1st")).unwrap();
    symlink(work.join("made"), work.join("there/2nd")).unwrap();
    symlink("nowhere/made", work.join("astray")).unwrap();
    symlink("round", work.join("round")).unwrap();
    for (path, status) in [("1st", 200), ("astray", 404), ("round", 400)] {
        let metadata = format!(r#"{{"path": "{path}", "mode": 640}}"#);
        let sent = sandbox.upload(&multipart(&[(METADATA, metadata.as_bytes()), (FILE, b"new")])).await;
        assert_eq!(sent.status(), status, "{path} {sent}");
        assert!(fs::symlink_metadata(work.join(path)).unwrap().is_symlink(), "{path}");
    }
    assert_eq!(fs::read(work.join("made")).unwrap(), b"new");
    assert_eq!(fs::metadata(work.join("made")).unwrap().mode() & 0o777, 0o640);
    assert!(!work.join("nowhere").exists() && work.join("there/2nd").is_symlink());
    let body = multipart(&[
        (METADATA, br#"{"path": "new/dir/file", "mode": 600, "owner": null, "group": null}"#),
        (FILE, &bytes),
        ("name=\"metadata\"", br#"{"path": "empty"}"#),
        (FILE, b""),
        (METADATA, br#"{"path": "link", "mode": 644}"#),
        (FILE, b"--opensandbox_1\r\n"),
    ]);
    let sent = sandbox.upload(&body).await;
    assert_eq!((sent.status(), sent.body.len()), (200, 0), "{sent}");
    assert!(fs::read(work.join("new/dir/file")).unwrap() == bytes);
    assert_eq!(fs::metadata(work.join("new/dir/file")).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(
        (fs::read(work.join("empty")).unwrap(), fs::metadata(work.join("empty")).unwrap().mode() & 0o777),
        (vec![], 0o755)
    );
    assert_eq!(fs::read(work.join("old")).unwrap(), b"--opensandbox_1\r\n", "a link is followed");
    assert!(fs::symlink_metadata(work.join("link")).unwrap().is_symlink());
    // In chunks, as the Python client sends it.
    let body = multipart(&[(METADATA, br#"{"path": "chunked"}"#), (FILE, b"hello")]);
    let mut client = Client::connect(gateway.address()).await;
    client.send(sandbox.upload_head("Transfer-Encoding: chunked")).await;
    for piece in body.chunks(7) {
        client.send(format!("{:x}\r\n", piece.len())).await;
        client.send(piece).await;
        client.send("\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(fs::read(work.join("chunked")).unwrap(), b"hello");
}

#[tokio::test]
async fn an_upload_that_is_not_right_leaves_nothing() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let work = sandbox.work().await;
    fs::create_dir(work.join("d")).unwrap();
    let good: (&str, &[u8]) = (METADATA, br#"{"path": "x"}"#);
    let long = format!(r#"{{"path": "x", "owner": "{}"}}"#, "o".repeat(100_000));
    for (parts, status) in [
        (vec![], 400),
        (vec![good], 400),
        (vec![(FILE, &b"x"[..])], 400),
        (vec![good, good, (FILE, b"x")], 400),
        (vec![("name=\"other\"", b"x")], 400),
        (vec![(METADATA, b"{"), (FILE, b"x")], 400),
        (vec![(METADATA, br#"{"mode": 644}"#), (FILE, b"x")], 400),
        (vec![(METADATA, br#"{"path": ""}"#), (FILE, b"x")], 400),
        (vec![(METADATA, br#"{"path": "d"}"#), (FILE, b"x")], 400),
        (vec![(METADATA, br#"{"path": "/"}"#), (FILE, b"x")], 400),
        (vec![(METADATA, br#"{"path": "d/.."}"#), (FILE, b"x")], 400),
        (vec![(METADATA, br#"{"path": "/dev/null"}"#), (FILE, b"x")], 400),
        (vec![(METADATA, br#"{"path": "x", "mode": 999}"#), (FILE, b"x")], 400),
        (vec![(METADATA, br#"{"path": "x", "owner": "no such user"}"#), (FILE, b"x")], 400),
        (vec![(METADATA, br#"{"path": "/etc/passwd/x"}"#), (FILE, b"x")], 400),
        (vec![(METADATA, long.as_bytes()), (FILE, b"x")], 400),
    ] {
        let sent = sandbox.upload(&multipart(&parts)).await;
        assert_eq!(
            sent.status(),
            status,
            "{:?} {sent}",
            parts.first().map(|(_, content)| String::from_utf8_lossy(&content[..content.len().min(60)]))
        );
    }
    assert_eq!(sandbox.ask("POST", "/files/upload", "x").await.status(), 400);
    // A body that breaks off, and a client that leaves.
    let body = multipart(&[good, (FILE, &[b'x'; 1_000_000])]);
    assert_eq!(sandbox.upload(&body[..body.len() - 20]).await.status(), 400);
    let mut client = Client::connect(gateway.address()).await;
    client.send(sandbox.upload_head(&format!("Content-Length: {}", body.len()))).await;
    client.send(&body[..body.len() / 2]).await;
    let names = || fs::read_dir(&work).unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();
    eventually("a file that is being written", Duration::from_secs(5), || names().len() > 1).await;
    client.reset();
    eventually("nothing is left", Duration::from_secs(5), || names() == ["d"]).await;
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[tokio::test]
async fn files_are_fetched_whole_in_ranges_and_by_lines() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let work = sandbox.work().await;
    fs::write(work.join("a \"é\".txt"), "one\ntwo\nthree").unwrap();
    let path = "path=a%20%22%C3%A9%22.txt";
    let whole = sandbox.download(path, &[]).await;
    assert_eq!((whole.status(), &whole.body[..]), (200, &b"one\ntwo\nthree"[..]));
    assert_eq!(whole.head.field("content-type"), "application/octet-stream");
    assert_eq!((whole.head.field("content-length"), whole.head.field("accept-ranges")), ("13", "bytes"));
    assert_eq!(whole.head.field("content-disposition"), "attachment; filename*=UTF-8''a%20%22%C3%A9%22.txt");
    for (range, status, body, told) in [
        ("bytes=0-2", 206, "one", "bytes 0-2/13"),
        ("bytes=8-", 206, "three", "bytes 8-12/13"),
        ("bytes=-5", 206, "three", "bytes 8-12/13"),
        ("bytes=4-999", 206, "two\nthree", "bytes 4-12/13"),
        ("bytes=nonsense", 200, "one\ntwo\nthree", ""),
        ("bytes=0-1,4-5", 200, "one\ntwo\nthree", ""),
    ] {
        let part = sandbox.download(path, &[&format!("Range: {range}")]).await;
        assert_eq!(
            (part.status(), &part.body[..], part.head.field("content-range")),
            (status, body.as_bytes(), told),
            "{range}"
        );
    }
    let outside = sandbox.download(path, &["Range: bytes=13-"]).await;
    assert_eq!((outside.status(), outside.head.field("content-range")), (416, "bytes */13"), "{outside}");
    assert!(outside.json()["code"].is_string());
    for (query, lines) in [
        ("&offset=2&limit=1", "two\n"),
        ("&offset=2", "two\nthree"),
        ("&limit=2", "one\ntwo\n"),
        ("&offset=9", ""),
        ("&limit=0", ""),
    ] {
        let part = sandbox.download(&format!("{path}{query}"), &[]).await;
        assert_eq!((part.status(), &part.body[..]), (200, lines.as_bytes()), "{query}");
        assert_eq!(part.head.field("content-type"), "text/plain; charset=utf-8");
    }
    let head = sandbox.ask("HEAD", &format!("/files/download?{path}"), "").await;
    assert_eq!((head.status(), head.head.field("content-length")), (200, "13"));
    for (query, lines, status) in [
        ("path=nowhere", &[][..], 404),
        ("path=.", &[], 400),
        ("path=/dev/zero", &[], 400),
        ("", &[], 400),
        ("path=a%20%22%C3%A9%22.txt&offset=0", &[], 400),
        ("path=a%20%22%C3%A9%22.txt&offset=-1", &[], 400),
        ("path=a%20%22%C3%A9%22.txt&limit=x", &[], 400),
        ("path=a%20%22%C3%A9%22.txt&limit=1", &["Range: bytes=0-1"], 400),
    ] {
        assert_eq!(sandbox.download(query, lines).await.status(), status, "{query}");
    }
    // A pipe has no other end, and nobody waits for one.
    sandbox.run("mkfifo pipe").await;
    assert_eq!(sandbox.download("path=pipe", &[]).await.status(), 400);
    // Files that do not tell their length.
    let version = sandbox.download("path=/proc/version", &[]).await;
    assert_eq!(&version.body[..], fs::read("/proc/version").unwrap());
    assert_eq!(sandbox.download("path=/proc/version", &["Range: bytes=0-4"]).await.body, "Linux");
    fs::write(work.join("empty"), "").unwrap();
    let empty = sandbox.download("path=empty", &[]).await;
    assert_eq!((empty.status(), empty.head.field("content-length")), (200, "0"));
}

#[tokio::test]
async fn a_long_file_is_streamed_and_one_that_shrinks_is_broken_off() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let work = sandbox.work().await;
    let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_be_bytes).collect();
    fs::write(work.join("long"), &bytes).unwrap();
    assert!(sandbox.download("path=long", &[]).await.body == bytes);
    let part = sandbox.download("path=long", &["Range: bytes=1000000-3999999"]).await;
    assert!(part.body == bytes[1_000_000..4_000_000]);
    let before = gateway.resident();
    fs::File::create(work.join("huge")).unwrap().set_len(10 << 30).unwrap();
    let mut client = Client::connect(gateway.address()).await;
    client.send_get(&format!("{}/files/download?path=huge", sandbox.base), &[&sandbox.lines()]).await;
    assert_eq!(client.head().await.field("content-length"), (10_u64 << 30).to_string());
    client.body_of(1 << 20).await;
    assert!(gateway.resident() < before + (32 << 20), "a file is not read ahead of its client");
    fs::File::options().write(true).open(work.join("huge")).unwrap().set_len(1 << 21).unwrap();
    client.body().await.expect_err("what was promised cannot be sent");
    fs::set_permissions(work.join("long"), fs::Permissions::from_mode(0o644)).unwrap();
}
