//! The server's own log in files (`[log]`, config.md).

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use crate::{
    Gateway, Setup,
    support::{
        client::{get_once, request},
        program::Home,
    },
};

fn logging(lines: &str) -> Setup {
    let files = "file_path = '~/logs/a/server.log'\naccess_file_path = '~/logs/b/access.log'";
    Setup::process().section(&format!("[log]\nfile_enabled = true\n{files}\n{lines}"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn end(gateway: &mut Gateway) {
    gateway.terminate();
    assert!(gateway.wait(Duration::from_secs(10)).success());
}

#[tokio::test]
async fn accesses_have_a_file_of_their_own() {
    let mut gateway = logging("").start();
    request(gateway.address(), "GET", "/v1/sandboxes", &["X-Request-ID: my-id"], "").await;
    end(&mut gateway);
    let (server, access) = (gateway.home().join("logs/a/server.log"), gateway.home().join("logs/b/access.log"));
    let line = read(&access).lines().find(|line| line.contains("my-id")).unwrap().to_owned();
    // `INFO     2026-11-24 06:23:24+0000 [my-id] access: 127.0.0.1:5 - "GET /v1/sandboxes HTTP/1.1" 200 …`
    assert!(line.starts_with("INFO     2") && line.as_bytes()[19] == b' ', "{line}");
    assert!(line.contains("+0000 [my-id] access: 127.0.0.1:"), "{line}");
    assert!(line.contains("- \"GET /v1/sandboxes HTTP/1.1\" 200"), "{line}");
    let said = read(&server);
    assert!(said.contains("listens on http://") && !said.contains("access:"), "{said}");
    assert!(said.contains("\nWARNING  2") || said.starts_with("WARNING  2"), "{said}");
    assert!(!said.contains('\u{1b}') && gateway.output().contains("[my-id] access: "), "the standard output has all");
    for path in [&server, &access] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn full_files_are_renamed_and_the_oldest_go() {
    let mut gateway = logging("file_max_bytes = 1000\nfile_backup_count = 2").start();
    for _ in 0..50 {
        get_once(gateway.address(), "/v1/sandboxes").await;
    }
    end(&mut gateway);
    let directory = gateway.home().join("logs/b");
    let mut names: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["access.log", "access.log.1", "access.log.2"]);
    for name in names {
        let text = read(&directory.join(name));
        assert!(text.len() < 1000 && text.ends_with('\n') && text.starts_with("INFO     "), "{text}");
    }
}

#[tokio::test]
async fn a_full_disk_does_not_stop_the_server() {
    let paths = "file_path = '/dev/full'\naccess_file_path = '/dev/full'";
    let mut gateway = Setup::process().section(&format!("[log]\nfile_enabled = true\n{paths}")).start();
    assert_eq!(get_once(gateway.address(), "/v1/sandboxes").await.status(), 200);
    end(&mut gateway);
    assert!(gateway.output().contains("the log file /dev/full is not written"), "{}", gateway.output());
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let home = Home::with(
        "[server]\nhost = '127.0.0.1'\n[runtime]\ntype = 'process'\nexecd_image = 'x'\n\
         [log]\nfile_enabled = true\nfile_path = '/proc/nowhere/x.log'",
    );
    let ended = home.run(&[("OPENSANDBOX_INSECURE_SERVER", "YES")]);
    assert_eq!((ended.code, ended.stderr.contains("/proc/nowhere/x.log")), (Some(1), true), "{ended:?}");
}
