use std::{
    fs,
    sync::{Arc, Mutex},
    time::Instant,
};

use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::*;
use crate::executable::executable;

/// A folder with this `config.json`.
fn config(content: &str) -> (tempfile::TempDir, ClientConfig) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), content).unwrap();
    let config = ClientConfig::at(folder.path(), Some("tcp://engine:2375"));
    (folder, config)
}

fn auth(pair: &str) -> Value {
    json!({"auth": BASE64_STANDARD.encode(pair)})
}

/// User and password for an image, or the identity token.
async fn found(config: &ClientConfig, reference: &str) -> Option<String> {
    let all = config.credentials(reference).await?;
    Some(all.identitytoken.unwrap_or_else(|| format!("{}:{}", all.username.unwrap(), all.password.unwrap())))
}

#[tokio::test]
async fn a_login_counts_for_its_registry_however_it_is_written() {
    let auths = json!({"auths": {
        "https://index.docker.io/v1/": auth("hub:1"),
        "reg.example:5000": auth("port:with:colon"),
        "http://old.example/v2/": auth("old:3"),
        "localhost": auth("local:4"),
        "token.example": {"identitytoken": "t0ken", "auth": "ignored"},
        "plain.example": {"username": "plain", "password": "5"},
        "empty.example": {},
        "padded.example": {"auth": BASE64_STANDARD.encode("nul:6\0\0")},
    }});
    let (_folder, config) = config(&auths.to_string());
    for (reference, credentials) in [
        ("busybox", Some("hub:1")),
        ("library/busybox:1", Some("hub:1")),
        ("docker.io/library/busybox", Some("hub:1")),
        ("index.docker.io/library/busybox@sha256:00", Some("hub:1")),
        ("reg.example:5000/a/b:1", Some("port:with:colon")),
        ("reg.example/a", None),
        ("reg.example:5001/a", None),
        ("old.example/a", Some("old:3")),
        ("localhost/a", Some("local:4")),
        ("token.example/a", Some("t0ken")),
        ("plain.example/a", Some("plain:5")),
        ("empty.example/a", None),
        ("padded.example/a", Some("nul:6")),
        ("evil.example/reg.example:5000/a", None),
    ] {
        assert_eq!(found(&config, reference).await.as_deref(), credentials, "{reference}");
    }
    assert_eq!(config.credentials("busybox").await.unwrap().serveraddress.as_deref(), Some(HUB_KEY));
}

#[tokio::test]
async fn a_new_login_counts_at_once_and_the_old_file_still() {
    let (folder, config) = config("{}");
    assert_eq!(found(&config, "r.example/a").await, None);
    fs::write(folder.path().join("config.json"), json!({"r.example": auth("a:b")}).to_string()).unwrap();
    assert_eq!(found(&config, "r.example/a").await.as_deref(), Some("a:b"));
    fs::remove_file(folder.path().join("config.json")).unwrap();
    assert_eq!(found(&config, "r.example/a").await, None);
}

#[tokio::test]
async fn a_damaged_file_is_none() {
    for content in ["", "{", "[]", "3", r#"{"auths": 1}"#, r#"{"auths": {"r.example": {"auth": "%"}}}"#, "\u{0}"] {
        let (_folder, config) = config(content);
        assert_eq!(found(&config, "r.example/a").await, None, "{content}");
        assert_eq!(config.proxies().await, Vec::<String>::new(), "{content}");
    }
    let (_folder, config) = config(&format!("{{\"x\":\"{}\"}}", "y".repeat(2 << 20)));
    assert!(config.read().await.is_none());
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("config.json")).unwrap();
    assert!(ClientConfig::at(folder.path(), None).read().await.is_none());
}

/// What is written to the log on this thread.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_has_the_wrong_type_is_told_by_its_name_and_not_by_its_value() {
    for (content, name) in [
        (r#"{"credHelpers": {"r.example": 51737}}"#, "'credHelpers.r.example' is no text"),
        (r#"{"credHelpers": ["51737"]}"#, "'credHelpers' is no object"),
        (r#"{"credsStore": {"51737": 1}}"#, "'credsStore' is no text"),
        (r#"{"auths": {"r.example": "51737"}}"#, "the entry of 'auths' is no object"),
        (r#"{"auths": {"r.example": {"auth": 51737}}}"#, "'auths.r.example.auth' is no text"),
        (r#"{"auths": {"r.example": {"username": "a", "password": 51737}}}"#, "'auths.r.example.password' is no text"),
        (r#"{"proxies": {"default": "51737"}}"#, "'an entry of proxies' is no object"),
        (r#"{"proxies": {"default": {"httpProxy": 51737}}}"#, "'proxies.httpProxy' is no text"),
    ] {
        let (_folder, config) = config(content);
        let said = Said::default();
        let log = said.clone();
        let guard = tracing::subscriber::set_default(
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish(),
        );
        assert_eq!(found(&config, "r.example/a").await, None, "{content}");
        assert_eq!(config.proxies().await, Vec::<String>::new(), "{content}");
        drop(guard);
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains(name) && !text.contains("51737"), "{content}: {text}");
    }
}

#[tokio::test]
async fn an_error_quotes_nothing_of_the_file() {
    let error = File::parse(br#"{"auths": {"r": {"auth": s3cret}}}"#, PathBuf::new()).map(|_| ()).unwrap_err();
    assert!(!error.to_string().contains("s3cret") && error.to_string().contains("line 1"), "{error}");
}

#[tokio::test]
async fn proxies_of_the_engine_go_before_those_of_all() {
    let all = json!({"proxies": {
        "default": {"httpProxy": "http://default:1"},
        "tcp://engine:2375": {"httpProxy": "http://own:1", "httpsProxy": "http://u:p@own:2", "noProxy": "a,b", "ftpProxy": ""},
    }});
    let (folder, config) = config(&all.to_string());
    assert_eq!(
        config.proxies().await,
        [
            "http_proxy=http://own:1",
            "HTTP_PROXY=http://own:1",
            "https_proxy=http://u:p@own:2",
            "HTTPS_PROXY=http://u:p@own:2",
            "no_proxy=a,b",
            "NO_PROXY=a,b"
        ]
    );
    let other = ClientConfig::at(folder.path(), Some("unix:///x"));
    assert_eq!(other.proxies().await, ["http_proxy=http://default:1", "HTTP_PROXY=http://default:1"]);
}

/// Puts a helper beside the file.
fn helper(folder: &tempfile::TempDir, name: &str, script: &str) {
    let program = folder.path().join(format!("docker-credential-{name}"));
    executable(&program, format!("#!/bin/sh\n{script}\n"));
}

#[tokio::test]
async fn helpers_are_asked_before_the_file() {
    let content = json!({
        "auths": {"both.example": auth("file:1"), "none.example": auth("file:2"), "other.example": {}},
        "credsStore": "store",
        "credHelpers": {"token.example": "token", "https://index.docker.io/v1/": "hub"},
    });
    let (folder, config) = config(&content.to_string());
    let config = config.with_helpers(folder.path());
    let store = r#"read -r registry; case "$1 $registry" in
"get both.example") echo '{"ServerURL":"x","Username":"store","Secret":"s:1"}' ;;
*) echo "credentials not found in native keychain"; exit 1 ;; esac"#;
    helper(&folder, "store", store);
    helper(&folder, "token", r#"echo '{"Username":"<token>","Secret":"id-t0ken"}'"#);
    helper(&folder, "hub", r#"read -r key; echo "{\"Username\":\"hub\",\"Secret\":\"$key\"}""#);
    for (reference, credentials) in [
        ("both.example/a", Some("store:s:1")),
        ("none.example/a", Some("file:2")),
        ("other.example/a", None),
        ("token.example/a", Some("id-t0ken")),
        ("busybox", Some("hub:https://index.docker.io/v1/")),
    ] {
        assert_eq!(found(&config, reference).await.as_deref(), credentials, "{reference}");
    }
}

#[tokio::test]
async fn a_helper_that_fails_keeps_nothing_back_and_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in [
        ("fails", "echo s3cret; exit 3"),
        ("garbage", "echo s3cret"),
        ("endless", "exec cat /dev/zero"),
        ("deaf", "exec 0<&-; sleep 0.1; echo s3cret"),
    ] {
        helper(&folder, name, script);
        let why = helper::get(Some(folder.path()), name, "r", SHORT).await.map(|_| ()).unwrap_err();
        assert!(!why.contains("s3cret"), "{why}");
    }
    for name in ["missing", "../fails", "", "a/b", "a b"] {
        assert!(helper::get(Some(folder.path()), name, "r", SHORT).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_helper_that_hangs_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("pid");
    helper(&folder, "hangs", &format!("sleep 1000 & echo $! >{}; wait", mark.display()));
    let why = helper::get(Some(folder.path()), "hangs", "r", SHORT).await.map(|_| ()).unwrap_err();
    assert!(why.contains("did not end"), "{why}");
    let pid = fs::read_to_string(&mark).unwrap();
    let alive = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "));
    let start = Instant::now();
    while alive() {
        assert!(start.elapsed().as_secs() < 5, "the helper's child lives");
        std::thread::sleep(PAUSE);
    }
}

const PAUSE: Duration = Duration::from_millis(10);

/// Enough for a script that ends.
const SHORT: Duration = Duration::from_secs(2);
