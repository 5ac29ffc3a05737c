//! Files and directories, as far as nothing is transferred.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn files_are_described() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let work = sandbox.work().await;
    fs::write(work.join("a b.txt"), "12345").unwrap();
    fs::set_permissions(work.join("a b.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("nowhere", work.join("link")).unwrap();
    let absolute = work.join("a b.txt");
    let path = format!(
        "/files/info?path=a%20b.txt&path=link&path=.&path=/dev/null&path={}",
        absolute.to_str().unwrap().replace(' ', "+")
    );
    let told = sandbox.get(&path).await.json();
    let file = &told["a b.txt"];
    assert_eq!(
        (&file["path"], &file["type"], &file["size"], &file["mode"]),
        (&json!(absolute), &json!("file"), &json!(5), &json!(640))
    );
    assert_eq!(
        (&told["link"]["type"], &told["."]["type"], &told["/dev/null"]["type"]),
        (&json!("symlink"), &json!("directory"), &json!("other"))
    );
    assert_eq!(told[absolute.to_str().unwrap()], *file);
    for name in ["owner", "group"] {
        assert!(!file[name].as_str().unwrap().is_empty(), "{file}");
    }
    for name in ["modified_at", "created_at"] {
        let time: jiff::Timestamp = file[name].as_str().unwrap().parse().unwrap();
        assert!((jiff::Timestamp::now().as_second() - time.as_second()).abs() < 60, "{file}");
    }
    for (path, status) in
        [("path=nowhere", 404), ("path=a%20b.txt/x", 400), ("", 400), ("path=", 400), ("path=a%00", 400)]
    {
        assert_eq!(sandbox.get(&format!("/files/info?{path}")).await.status(), status, "{path}");
    }
    // What is no UTF-8 is described too.
    sandbox.run("touch \"$(printf 'x\\377')\"").await;
    let listed = sandbox.get("/directories/list?path=.").await.json();
    assert!(
        listed.as_array().unwrap().iter().any(|entry| entry["path"].as_str().unwrap().ends_with("x\u{fffd}")),
        "{listed}"
    );
}

#[tokio::test]
async fn permissions_change_names_change_and_files_go() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let work = sandbox.work().await;
    fs::write(work.join("x"), "x").unwrap();
    let own = sandbox.output("id -un; id -gn").await;
    let (user, group) = own.trim().split_once('\n').unwrap();
    let body = json!({"x": {"mode": 4640, "owner": user, "group": group}});
    assert_eq!(sandbox.post("/files/permissions", body).await.status(), 200);
    assert_eq!(mode(work.join("x")), 0o4640);
    assert_eq!(sandbox.post("/files/permissions", json!({"x": {"owner": null, "group": null}})).await.status(), 200);
    assert_eq!(mode(work.join("x")), 0o755);
    for (body, status) in [
        (json!({"x": {"mode": 8}}), 400),
        (json!({"x": {"mode": 77_777}}), 400),
        (json!({"x": {"mode": "rwx"}}), 400),
        (json!({"x": {"owner": "no such user"}}), 400),
        (json!({"x": 5}), 400),
        (json!([]), 400),
        (json!({"nowhere": {"mode": 644}}), 404),
    ] {
        assert_eq!(sandbox.post("/files/permissions", body.clone()).await.status(), status, "{body}");
    }
    let moved = |src: &str, dest: &str| sandbox.post("/files/mv", json!([{"src": src, "dest": dest}]));
    assert_eq!(moved("x", "y").await.status(), 200);
    assert!(!work.join("x").exists() && work.join("y").exists());
    assert_eq!(moved("x", "z").await.status(), 404);
    assert_eq!(moved("y", "nowhere/y").await.status(), 404);
    // To another file system.
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let there = elsewhere.path().join("y");
    assert_eq!(moved("y", there.to_str().unwrap()).await.status(), 200);
    assert_eq!(fs::read(&there).unwrap(), b"x");
    assert_eq!(moved(there.to_str().unwrap(), "y").await.status(), 200);

    fs::create_dir(work.join("d")).unwrap();
    symlink("d", work.join("to-d")).unwrap();
    fs::write(work.join("d/kept"), "").unwrap();
    assert_eq!(sandbox.ask("DELETE", "/files?path=y&path=to-d&path=nowhere", "").await.status(), 200);
    assert!(!work.join("y").exists() && !work.join("to-d").exists() && work.join("d/kept").exists());
    assert_eq!(sandbox.ask("DELETE", "/files?path=d", "").await.status(), 400);
    assert_eq!(sandbox.ask("DELETE", "/files", "").await.status(), 400);
}

#[tokio::test]
async fn directories_are_made_listed_and_removed() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let work = sandbox.work().await;
    let body = json!({"a/b/c": {"mode": 700}, "z": {}});
    assert_eq!(sandbox.post("/directories", body).await.status(), 200);
    assert_eq!((mode(work.join("a/b/c")), mode(work.join("z"))), (0o700, 0o755));
    fs::write(work.join("a/b/file"), "").unwrap();
    symlink("/", work.join("a/root")).unwrap();
    let list = async |query: &str| {
        let response = sandbox.get(&format!("/directories/list?{query}")).await;
        let entries = response.json();
        let below = |entry: &Value| entry["path"].as_str().unwrap().rsplit_once("/work/").unwrap().1.to_owned();
        (
            response.status(),
            entries.as_array().map(|entries| entries.iter().map(below).collect::<Vec<_>>()).unwrap_or_default(),
        )
    };
    assert_eq!(list("path=.").await, (200, vec!["a".to_owned(), "z".to_owned()]));
    let all = ["a", "a/b", "a/b/c", "a/b/file", "a/root", "z"].map(str::to_owned).to_vec();
    assert_eq!(list("path=.&depth=9").await, (200, all));
    assert_eq!(list("path=a&depth=2").await.1, ["a/b", "a/b/c", "a/b/file", "a/root"]);
    assert_eq!(list("path=.&depth=0").await, (200, Vec::new()));
    for (query, status) in [
        ("path=a/root", 400),
        ("path=a/b/file", 400),
        ("path=no", 404),
        ("", 400),
        ("path=.&depth=-1", 400),
        ("path=.&depth=x", 400),
    ] {
        assert_eq!(list(query).await.0, status, "{query}");
    }
    assert_eq!(sandbox.post("/directories", json!({"a/b/file": {}})).await.status(), 400);
    assert_eq!(sandbox.post("/directories", json!({"a/b/file/x": {}})).await.status(), 400);
    let remove = async |query: &str| sandbox.ask("DELETE", &format!("/directories?{query}"), "").await.status();
    assert_eq!(
        (
            remove("path=a/b/file").await,
            remove("path=a/root").await,
            remove("path=/").await,
            remove("path=/tmp/..").await
        ),
        (400, 400, 400, 400)
    );
    assert_eq!(remove("path=a&path=z&path=nowhere").await, 200);
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
    assert!(fs::exists("/etc/passwd").unwrap());
}

#[tokio::test]
async fn files_are_found_by_patterns() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    sandbox.run("mkdir -p src/deep; touch a.py src/b.py src/deep/c.py src/d.txt .hidden; ln -s / src/loop").await;
    let search = async |query: &str| {
        let response = sandbox.get(&format!("/files/search?{query}")).await;
        assert_eq!(response.status(), 200, "{query} {response}");
        let entries = response.json();
        let below = |entry: &Value| entry["path"].as_str().unwrap().rsplit_once("/work/").unwrap().1.to_owned();
        entries.as_array().unwrap().iter().map(below).collect::<Vec<_>>()
    };
    assert_eq!(search("path=.&pattern=*.py").await, ["a.py", "src/b.py", "src/deep/c.py"]);
    assert_eq!(search("path=.&pattern=src/*.py").await, ["src/b.py"]);
    assert_eq!(search("path=.&pattern=src/**/*.py").await, ["src/b.py", "src/deep/c.py"]);
    assert_eq!(search("path=src&pattern=[bd].*").await, ["src/b.py", "src/d.txt"]);
    assert_eq!(search("path=src&pattern=*.%7Bpy,txt%7D").await.len(), 3);
    let all = search("path=.").await;
    assert_eq!(all, [".hidden", "a.py", "src/b.py", "src/d.txt", "src/deep/c.py", "src/loop"]);
    assert_eq!(
        (search("path=.&pattern=").await, search("path=.&pattern=**").await, search("path=.&pattern=nothing").await),
        (all.clone(), all, Vec::new())
    );
    let long = format!("path=.&pattern={}", "*".repeat(5000));
    for (query, status) in
        [("pattern=*", 400), ("path=nowhere", 404), ("path=a.py", 400), ("path=.&pattern=[", 400), (&*long, 400)]
    {
        assert_eq!(sandbox.get(&format!("/files/search?{query}")).await.status(), status, "{query}");
    }
}

#[tokio::test]
async fn text_is_replaced_in_files() {
    let gateway = gateway();
    let sandbox = Sandbox::create(&gateway).await;
    let work = sandbox.work().await;
    fs::write(work.join("x"), b"one two one \xff one").unwrap();
    fs::set_permissions(work.join("x"), fs::Permissions::from_mode(0o604)).unwrap();
    symlink("x", work.join("link")).unwrap();
    let replace = async |query: &str, body: Value| sandbox.post(&format!("/files/replace{query}"), body).await;
    let done = replace("?verbose=true", json!({"link": {"old": "one", "new": "1"}})).await;
    assert_eq!((done.status(), done.json()), (200, json!({"link": {"replacedCount": 3}})));
    assert_eq!((fs::read(work.join("x")).unwrap(), mode(work.join("x"))), (b"1 two 1 \xff 1".to_vec(), 0o604));
    assert!(fs::symlink_metadata(work.join("link")).unwrap().is_symlink());
    let done = replace("", json!({"x": {"old": "none", "new": ""}})).await;
    assert_eq!((done.status(), done.body.len()), (200, 0));
    assert_eq!(replace("?verbose=1", json!({"x": {"old": "none", "new": ""}})).await.json()["x"]["replacedCount"], 0);
    // Each byte is a place.
    let before = gateway.peak();
    fs::write(work.join("all"), vec![b'a'; 4 << 20]).unwrap();
    let done = replace("?verbose=1", json!({"all": {"old": "a", "new": "b"}})).await;
    assert_eq!(done.json()["all"]["replacedCount"], 4 << 20);
    assert!(fs::read(work.join("all")).unwrap().iter().all(|byte| *byte == b'b'));
    assert!(gateway.peak() < before + (24 << 20), "{} MiB", (gateway.peak() - before) >> 20);
    fs::File::create(work.join("long")).unwrap().set_len(100 * 1024 * 1024).unwrap();
    fs::write(work.join("grows"), "a".repeat(1024 * 1024)).unwrap();
    for (query, body, status) in [
        ("", json!({"x": {"old": "", "new": "y"}}), 400),
        ("", json!({"x": {"old": "y"}}), 400),
        ("", json!({"nowhere": {"old": "x", "new": "y"}}), 404),
        ("", json!({".": {"old": "x", "new": "y"}}), 400),
        ("", json!({"/dev/zero": {"old": "x", "new": "y"}}), 400),
        ("", json!({"long": {"old": "x", "new": "y"}}), 400),
        ("", json!({"grows": {"old": "a", "new": "b".repeat(100)}}), 400),
        ("?verbose=perhaps", json!({}), 400),
    ] {
        assert_eq!(replace(query, body.clone()).await.status(), status, "{query} {body}");
    }
    assert!(
        fs::read_dir(&work).unwrap().flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with(".execd"))
    );
}
