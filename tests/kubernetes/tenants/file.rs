//! Tenants in a file, which is read again when it changes.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::fixture::{TENANTS, World, seen};
use crate::{
    fixture::{ID, OTHER},
    support::{
        gateway::Gateway,
        kube::{Action, resource::NAMESPACES},
    },
};

/// Waits until a key's owner sees so many sandboxes, or is refused so. The file is looked at every 2 s.
async fn until(gateway: &Gateway, key: &str, expected: Value) {
    let begun = Instant::now();
    loop {
        let found = seen(gateway, key).await;
        if found == expected {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{key}: {found}, not {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_changed_file_counts_and_a_broken_one_does_not() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "");
    world.sandbox(OTHER, "b", "team-b", "");
    let gateway = world.gateway();
    assert_eq!([seen(&gateway, "key-a1").await, seen(&gateway, "key-b").await], [json!(1), json!(1)]);
    // A key is taken back, and another one given.
    world.write(&TENANTS.replace("'key-a1'", "'key-a9'"));
    until(&gateway, "key-a1", json!("INVALID_API_KEY")).await;
    assert_eq!([seen(&gateway, "key-a9").await, seen(&gateway, "key-b").await], [json!(1), json!(1)]);
    world.write("[[tenants]]\nname = 'team-a'\nnamespace = 'a'\napi_keys = ['key-a9\n");
    gateway.says("the tenants stay as they were").await;
    assert_eq!(seen(&gateway, "key-a9").await, 1);
    world.write(&TENANTS.replace("'key-as'", "'key-b'"));
    gateway.says("is a key of tenant").await;
    assert_eq!([seen(&gateway, "key-a9").await, seen(&gateway, "key-b").await], [json!(1), json!(1)]);
    // A tenant moves to another namespace.
    world.write(&TENANTS.replace("namespace = 'b'", "namespace = 'a'"));
    until(&gateway, "key-b", json!(0)).await;
    fs::remove_file(world.file()).unwrap();
    until(&gateway, "key-a1", json!("INVALID_API_KEY")).await;
    world.write(TENANTS);
    until(&gateway, "key-a1", json!(1)).await;
    assert!(!gateway.output().contains("key-a9"), "{}", gateway.output());
}

#[test]
fn a_file_that_is_not_there_or_wrong_is_no_start() {
    let world = World::start();
    for (text, says) in [
        (None, "there is no such file"),
        (Some("[[tenants]]\nname = 'x'\n"), "missing field"),
        (Some("tenants = 7\n"), "invalid type"),
        (Some(&*TENANTS.replace("key-as", "key-a1")), "api_keys[0] is a key of tenant 'team-a' already"),
        (Some(&*TENANTS.replace("'shadow'", "'a b'")), "cannot be a label's value"),
    ] {
        match text {
            Some(text) => world.write(text),
            None => fs::remove_file(world.file()).unwrap(),
        }
        let mut gateway = world.setup("").spawn();
        let status = gateway.wait(Duration::from_secs(20));
        let output = gateway.output();
        assert!(status.code() == Some(3) && output.contains(says) && !output.contains("key-a"), "{status}: {output}");
    }
}

#[test]
fn a_namespace_that_is_not_there_is_no_start() {
    let world = World::start();
    world.write(&TENANTS.replace("namespace = 'b'", "namespace = 'nowhere'"));
    let mut gateway = world.setup("").spawn();
    assert_eq!(gateway.wait(Duration::from_secs(20)).code(), Some(1));
    let text = "Tenant namespace validation failed: tenant 'team-b': namespace 'nowhere' does not exist";
    assert!(gateway.output().contains(text), "{}", gateway.output());
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "nowhere"}});
    world.cluster.server.create(&NAMESPACES, "", object);
    drop(world.gateway());
}

/// The last check has its turn after 6 s.
#[test]
fn a_low_rate_of_calls_passes_over_no_namespace() {
    let world = World::start();
    let tenant = |number: usize, namespace: &str| {
        format!("[[tenants]]\nname = 't-{number:02}'\nnamespace = '{namespace}'\napi_keys = ['key-{number}']\n")
    };
    let mut file: String = (0..13).map(|number| tenant(number, if number == 1 { "nowhere" } else { "a" })).collect();
    file.push_str(&tenant(13, "nor-here"));
    world.write(&file);
    let mut gateway = world.setup("read_qps = 2").spawn();
    let status = gateway.wait(Duration::from_secs(40));
    let said = gateway.output();
    let text = "Tenant namespace validation failed: tenant 't-01': namespace 'nowhere' does not exist; tenant 't-13': \
                namespace 'nor-here' does not exist";
    assert!(status.code() == Some(1) && said.contains(text) && !said.contains("cannot be told"), "{status}: {said}");
}

#[test]
fn a_silent_api_server_does_not_hold_up_the_start() {
    let world = World::start();
    world.cluster.server.fault("GET", "/namespaces/a", Action::Hang, 2);
    let begun = Instant::now();
    let gateway = world.gateway();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let said = gateway.output();
    assert!(said.contains("whether the namespace 'a' of a tenant exists cannot be told now"), "{said}");
}
