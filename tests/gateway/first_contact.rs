//! What somebody sees who tries the gateway for the first time and gets something wrong: each message names the way out.

use std::net::TcpListener;

use crate::{
    Setup,
    support::{
        client::{get_once, request},
        program::Home,
    },
};

#[test]
fn without_a_configuration_the_missing_file_comes_first_and_then_what_to_do() {
    let ended = Home::with("").run_args(&[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let text = ended.stderr.strip_prefix("opensandbox-gateway: ").unwrap();
    let places: Vec<_> = [".sandbox.toml does not exist", "init-config", "--config", "dev"]
        .iter()
        .map(|part| text.find(part).unwrap_or_else(|| panic!("{part} is not in {text}")))
        .collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn dev_on_a_taken_port_names_the_option_for_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = Home::with("").run_args(&["dev", "--port", &port]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains(&port) && ended.stderr.contains("`--port`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("server.port"), "dev has no file to set it in: {}", ended.stderr);
}

#[test]
fn a_port_that_is_no_number_is_told_what_one_is() {
    let ended = Home::with("").run_args(&["dev", "--port", "abc"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("from 1 to 65535"), "{}", ended.stderr);
}

#[test]
fn init_config_says_what_comes_next() {
    let home = Home::with("");
    let ended = home.run_args(&["init-config", "~/first.toml"]);
    assert!(ended.stderr.contains("first.toml`"), "{ended:?}");
    let ended = home.run_args(&["init-config", "--example", "k8s", "~/second.toml"]);
    assert!(ended.stderr.contains("kubernetes.namespace"), "{ended:?}");
}

#[tokio::test]
async fn what_is_no_route_points_to_the_description() {
    let gateway = Setup::process().start();
    for path in ["/", "/sandbox", "/v1", "/v2/sandboxes"] {
        let answer = get_once(gateway.address(), path).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status() == 404 && text.contains("/docs"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_body_without_its_type_is_told_which_header_is_missing() {
    let gateway = Setup::process().start();
    for (method, path) in
        [("POST", "/v1/sandboxes"), ("PATCH", "/v1/sandboxes/x/metadata"), ("POST", "/v1/sandboxes/x/renew-expiration")]
    {
        for line in ["Accept: */*", "Content-Type: application/x-www-form-urlencoded", "Content-Type: text/json"] {
            let answer = request(gateway.address(), method, path, &[line], "{}").await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status(), 422, "{method} {path} {line}: {text}");
            assert!(text.contains("Content-Type: application/json"), "{method} {path} {line}: {text}");
        }
    }
}
