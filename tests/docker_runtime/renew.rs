//! Renewals, and their race with the end.

use std::{
    fs,
    time::{Duration, Instant},
};

use opensandbox_gateway::{
    error::{Family, Kind},
    model::{sandbox::State, timestamp::Timestamp},
    runtime::{Pausing, Runtime},
};

use crate::{
    by_hand,
    fixture::{Fixture, eventually, request},
};

fn in_millis(millis: i64) -> Timestamp {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_millis(millis)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_stored_and_counts_also_after_a_restart() {
    let mut fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["/bin/true"])).await.unwrap().id;
    let state = async || fixture.docker.get(&id).await.unwrap().status.state;
    eventually("the sandbox exits", async || state().await == State::Terminated).await;
    let time = Timestamp::from("2999-12-01T00:00:00.5Z".parse::<jiff::Timestamp>().unwrap());
    assert_eq!(fixture.docker.renew(&id, time).await.unwrap(), time, "an exited sandbox is renewed as well");
    let file = fixture.state.path().join(format!("metadata/_expiration/{id}.json"));
    assert_eq!(fs::read_to_string(&file).unwrap(), r#"{"expires_at": "2999-12-01T00:00:00.500000+00:00"}"#);
    assert_eq!(fixture.docker.get(&id).await.unwrap().expires_at, Some(time));

    fixture.docker.renew(&id, in_millis(2_500)).await.unwrap();
    fixture.restart().await;
    eventually("the sandbox ends", async || fixture.docker.get(&id).await.is_err()).await;
    eventually("its file goes", async || !file.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_was_removed_by_another_hand_leaves_no_file_after_its_time() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    fixture.docker.renew(&id, in_millis(1_000)).await.unwrap();
    by_hand::remove(&fixture, &format!("sandbox-{id}")).await;
    let folder = fixture.state.path().join("metadata/_expiration");
    eventually("its file goes", async || fs::read_dir(&folder).unwrap().next().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_may_come_earlier_and_is_refused_in_the_contract_s_order() {
    let fixture = Fixture::start().await;
    let refused = async |id: &str, time: Timestamp| {
        let error = fixture.docker.renew(id, time).await.unwrap_err();
        (error.key(), error.message)
    };
    let (past, later) = (in_millis(-5), in_millis(60_000));
    assert_eq!(refused("nope", past).await.0, (Family::Sandbox, Kind::NotFound));
    let manual = by_hand::sandbox(&fixture, &[("opensandbox.io/manual-cleanup", "true")], "none").await;
    let in_past = ((Family::Expiry, Kind::Invalid), "New expiration time must be in the future.".to_owned());
    assert_eq!(refused(&manual, past).await, in_past);
    let text = format!("Sandbox {manual} does not have automatic expiration enabled.");
    assert_eq!(refused(&manual, later).await, ((Family::Expiry, Kind::Conflict), text));
    let unknown = by_hand::sandbox(&fixture, &[("opensandbox.io/expires-at", "soon")], "none").await;
    let text = format!("Sandbox {unknown} is missing expiration metadata and cannot be renewed safely.");
    assert_eq!(refused(&unknown, later).await, ((Family::Expiry, Kind::Conflict), text));
    fixture.docker.delete(&manual).await.unwrap();
    fixture.docker.delete(&unknown).await.unwrap();

    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    fixture.docker.renew(&id, in_millis(300)).await.unwrap();
    eventually("the sandbox ends", async || fixture.docker.get(&id).await.is_err()).await;
}

/// Whoever was promised more time gets it, however close the end was.
#[tokio::test(flavor = "multi_thread")]
async fn a_promised_renewal_is_kept() {
    let fixture = Fixture::start().await;
    let race = async |offset: i64| {
        let id =
            by_hand::sandbox(&fixture, &[("opensandbox.io/expires-at", "2999-01-01T00:00:00+00:00")], "none").await;
        // Ten of them at once take a moment on a slow machine.
        let (end, begun) = (in_millis(5000), Instant::now());
        fixture.docker.renew(&id, end).await.unwrap();
        let wait = Duration::from_millis(u64::try_from(5000 + offset).unwrap());
        tokio::time::sleep(wait.saturating_sub(begun.elapsed())).await;
        let renewed = fixture.docker.renew(&id, in_millis(600_000)).await;
        (id, renewed)
    };
    let races = futures_util::future::join_all([-6, -3, -1, 0, 1, 2, 4, 8, 16, 32].map(race)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (id, renewed) in races {
        match renewed {
            Ok(_) => {
                let sandbox = fixture.docker.get(&id).await.unwrap();
                assert_eq!(sandbox.status.state, State::Running);
                fixture.docker.delete(&id).await.unwrap();
            }
            Err(error) => {
                assert_eq!(error.key(), (Family::Sandbox, Kind::NotFound));
                assert!(fixture.docker.get(&id).await.is_err());
            }
        }
    }
    assert_eq!(fs::read_dir(fixture.state.path().join("metadata/_expiration")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn use_extends_the_life_of_a_running_sandbox_that_asked_for_it() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    let mut asking = request(&["sleep", "1000"]);
    asking.extensions.insert("access.renew.extend.seconds".to_owned(), "7200".to_owned());
    let created = fixture.docker.create(asking).await.unwrap();
    let id = created.id;
    let moved = fixture.docker.renew_on_access(&id).await.unwrap().unwrap();
    assert!(moved > in_millis(7_100_000) && moved < in_millis(7_300_000), "{moved}");
    assert_eq!(fixture.docker.get(&id).await.unwrap().expires_at, Some(moved));
    let far = in_millis(90_000_000);
    fixture.docker.renew(&id, far).await.unwrap();
    assert_eq!(fixture.docker.renew_on_access(&id).await.unwrap(), Some(far), "never to an earlier time");
    fixture.docker.pause(&id).await.unwrap();
    assert_eq!(fixture.docker.renew_on_access(&id).await.unwrap(), None);
    fixture.docker.delete(&id).await.unwrap();
    assert_eq!(fixture.docker.renew_on_access(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));

    eventually("the event stream is open", async || proxy.count("GET", "/events") > 0).await;
    let silent = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let container = fixture.container_ids(std::slice::from_ref(&silent)).await.remove(0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.clear();
    for _ in 0..20 {
        assert_eq!(fixture.docker.renew_on_access(&silent).await.unwrap(), None);
    }
    let asked = proxy.count("GET", &container) + proxy.count("GET", &format!("sandbox-{silent}"));
    assert_eq!(asked, 0, "those who did not ask cost nothing");
    fixture.docker.delete(&silent).await.unwrap();
}
