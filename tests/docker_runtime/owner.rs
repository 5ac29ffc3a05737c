//! Several gateways with homes of their own on one engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{collections::HashMap, fs, path::Path, process::Command, time::Duration};

use bollard::{
    models::VolumeCreateRequest,
    query_parameters::{ListVolumesOptions, RemoveVolumeOptions},
};
use opensandbox_gateway::{
    config::ExpiryScope,
    model::{create::CreateRequest, timestamp::Timestamp},
    runtime::{
        Runtime,
        docker::{Docker, DockerOptions},
    },
};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    by_hand,
    fixture::{Fixture, eventually, options, request},
};

/// A mark that no other test knows, which goes with this.
pub(crate) struct Mark {
    name: String,
}

impl Mark {
    pub(crate) fn new() -> Self {
        Self { name: format!("osb-test-owner-{}", uuid::Uuid::new_v4()) }
    }

    pub(crate) fn with(&self, expiry: Option<ExpiryScope>) -> DockerOptions {
        DockerOptions { expiry, owner_mark: self.name.clone(), ..options() }
    }

    /// For a gateway that ends all sandboxes.
    pub(crate) fn all(&self) -> DockerOptions {
        self.with(Some(ExpiryScope::All))
    }

    async fn labels(&self, fixture: &Fixture) -> HashMap<String, String> {
        fixture.engine.inspect_volume(&self.name).await.unwrap().labels
    }

    /// Whether it is another than the one with the labels `before`. While it changes hands there is none.
    async fn differs(&self, fixture: &Fixture, before: &HashMap<String, String>) -> bool {
        fixture.engine.inspect_volume(&self.name).await.is_ok_and(|now| now.labels != *before)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // There is none if nobody has made it.
        let _ = Command::new("docker").args(["volume", "rm", "-f", &self.name]).output();
    }
}

/// A gateway with a home of its own.
struct Gateway {
    docker: Docker,
    home: TempDir,
}

impl Gateway {
    /// In a home that a server has used before.
    async fn heir(fixture: &Fixture, options: DockerOptions) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("opensandbox.db"), "").unwrap();
        Self::at(fixture, home, options).await
    }

    async fn visitor(fixture: &Fixture, options: DockerOptions) -> Self {
        Self::at(fixture, tempfile::tempdir().unwrap(), options).await
    }

    async fn at(fixture: &Fixture, home: TempDir, options: DockerOptions) -> Self {
        Self { docker: Fixture::beside(&fixture.socket(), options, home.path()).await, home }
    }

    /// Ends it and gives its home.
    async fn stop(self) -> TempDir {
        self.docker.shutdown().await;
        self.home
    }

    async fn has(&self, id: &str) -> bool {
        self.docker.get(id).await.is_ok()
    }

    /// Waits until it has decided what it is; whether it has something to say of that.
    async fn settled(&self) -> bool {
        let undecided = || self.docker.notes().iter().any(|note| note.contains("cannot be told"));
        eventually("it is decided", async || !undecided()).await;
        self.docker.notes().iter().any(|note| note.contains("do not end by their time here"))
    }
}

fn in_seconds(seconds: i64) -> Timestamp {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).into()
}

/// A sandbox of the existing server's, which ends in so many seconds.
async fn foreign(fixture: &Fixture, seconds: i64) -> String {
    by_hand::sandbox(fixture, &[("opensandbox.io/expires-at", &in_seconds(seconds).to_label())], "none").await
}

fn short(seconds: u64) -> CreateRequest {
    CreateRequest { timeout: Some(seconds), ..request(&["sleep", "1000"]) }
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// How many volumes tell of a sandbox's expiry.
async fn told(fixture: &Fixture, id: &str) -> usize {
    volumes(fixture, &[&format!("opensandbox.io/expiry-of={id}")]).await
}

/// How many volumes have all of these labels.
async fn volumes(fixture: &Fixture, labels: &[&str]) -> usize {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    let options = ListVolumesOptions { filters: Some([("label".to_owned(), labels)].into()) };
    fixture.engine.list_volumes(Some(options)).await.unwrap().volumes.unwrap_or_default().len()
}

/// Before, the second gateway removed at its first time what the first had renewed.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_home_does_not_end_what_the_first_renewed() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let owner = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(!owner.settled().await, "{:?}", owner.docker.notes());
    let renewed = foreign(&fixture, 6).await;
    let first_time = Instant::now() + Duration::from_secs(7);
    owner.docker.renew(&renewed, in_seconds(3600)).await.unwrap();
    assert_eq!(told(&fixture, &renewed).await, 0, "one gateway alone leaves nothing on the engine but its mark");

    let second = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(second.settled().await, "it says what it does not do");
    let untouched = foreign(&fixture, 2).await;
    let owner_home = owner.stop().await;
    let own = second.docker.create(short(6)).await.unwrap().id;
    let taken = foreign(&fixture, 60).await;
    second.docker.renew(&taken, in_seconds(2)).await.unwrap();
    for id in [&own, &taken] {
        eventually("what it created or renewed ends by its time", async || !second.has(id).await).await;
    }
    tokio::time::sleep_until(first_time).await;
    sleep(2).await;
    assert!(second.has(&renewed).await, "the renewed sandbox is lost");
    assert!(second.has(&untouched).await, "who knows whether the owner has renewed it");

    let owner = Gateway::at(&fixture, owner_home, mark.with(None)).await;
    eventually("the owner ends what is its", async || !owner.has(&untouched).await).await;
    assert!(owner.has(&renewed).await);
    owner.docker.delete(&renewed).await.unwrap();
}

/// Both ways: whoever renews, nobody else ends the sandbox before.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_renews_no_other_ends_before() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let owner = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(!owner.settled().await);
    let visitor = Gateway::visitor(&fixture, mark.with(None)).await;
    assert!(visitor.settled().await);
    let of_owner = owner.docker.create(short(12)).await.unwrap().id;
    let of_visitor = visitor.docker.create(short(12)).await.unwrap().id;
    visitor.docker.renew(&of_owner, in_seconds(20)).await.unwrap();
    owner.docker.renew(&of_visitor, in_seconds(20)).await.unwrap();
    let own = visitor.docker.create(short(12)).await.unwrap().id;
    visitor.docker.renew(&own, in_seconds(20)).await.unwrap();
    let all = [&of_owner, &of_visitor, &own];
    for id in all {
        assert_eq!(told(&fixture, id).await, 1);
    }
    sleep(14).await;
    for id in all {
        assert!(owner.has(id).await, "ended by who did not renew it");
    }
    // The last one to say a time is the one that counts.
    owner.docker.renew(&own, in_seconds(3600)).await.unwrap();
    for id in [&of_owner, &of_visitor] {
        eventually("it ends by its new time", async || !owner.has(id).await).await;
        eventually("nothing tells of it any more", async || told(&fixture, id).await == 0).await;
    }
    sleep(2).await;
    assert!(visitor.has(&own).await, "the visitor ended it by its own, older time");
    assert_eq!(told(&fixture, &own).await, 1);
    visitor.docker.delete(&own).await.unwrap();
    assert_eq!(told(&fixture, &own).await, 0);
}

/// An evaluator beside a running Python server, which makes no mark.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_home_is_a_visitor_where_others_have_sandboxes() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let before = foreign(&fixture, 2).await;
    let visitor = Gateway::visitor(&fixture, mark.with(None)).await;
    assert!(visitor.settled().await);
    sleep(4).await;
    assert!(visitor.has(&before).await, "the Python server may have renewed it");
    assert!(fixture.engine.inspect_volume(&mark.name).await.is_err(), "a visitor makes no mark");
    // A restart changes nothing, though the home was used by then.
    let visitor = Gateway::at(&fixture, visitor.stop().await, mark.with(None)).await;
    assert!(visitor.settled().await && visitor.has(&before).await);
    visitor.stop().await;

    // The server's own home: this one takes over from it.
    let heir = Gateway::heir(&fixture, mark.with(None)).await;
    eventually("it ends as it would have before", async || !heir.has(&before).await).await;
    let labels = mark.labels(&fixture).await;
    assert!(labels["opensandbox.io/gateway-owner-home"].contains(&heir.home.path().display().to_string()));
    let id: serde_json::Value =
        serde_json::from_slice(&fs::read(heir.home.path().join("gateway.json")).unwrap()).unwrap();
    assert_eq!(id["id"], labels["opensandbox.io/gateway-owner"]);
    assert!(heir.docker.list().await.unwrap().iter().all(|sandbox| !sandbox.id.contains("osb-test-owner")));
}

/// Before, both owned the engine, and the copy ended what the first had renewed.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_home_is_another_home() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let first = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(!first.settled().await);
    let renewed = first.docker.create(short(600)).await.unwrap().id;
    first.docker.renew(&renewed, in_seconds(5)).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let args = ["-a".to_owned(), format!("{}/.", first.home.path().display()), home.path().display().to_string()];
    assert!(Command::new("cp").args(args).output().unwrap().status.success());
    first.docker.renew(&renewed, in_seconds(3600)).await.unwrap();
    let is_told = |gateway: &Gateway| gateway.docker.notes().iter().any(|note| note.contains("is a copy of another"));

    let copy = Gateway::at(&fixture, home, mark.with(None)).await;
    assert!(copy.settled().await && is_told(&copy), "{:?}", copy.docker.notes());
    let own = copy.docker.create(short(6)).await.unwrap().id;
    eventually("it ends what it created", async || !copy.has(&own).await).await;
    sleep(4).await;
    assert!(first.has(&renewed).await, "the copy ended it by its own, older time");
    assert!(!first.settled().await && !is_told(&first));
    // What the copy renews, it tells the first.
    copy.docker.renew(&renewed, in_seconds(7200)).await.unwrap();
    assert_eq!(told(&fixture, &renewed).await, 1);
    let copy = Gateway::at(&fixture, copy.stop().await, mark.with(None)).await;
    assert!(copy.settled().await && is_told(&copy), "a restart changes nothing");

    // It was moved: its operator says so, once.
    first.stop().await;
    let before = mark.labels(&fixture).await;
    let copy = Gateway::at(&fixture, copy.stop().await, mark.all()).await;
    eventually("it takes the mark", async || mark.differs(&fixture, &before).await).await;
    let copy = Gateway::at(&fixture, copy.stop().await, mark.with(None)).await;
    assert!(!copy.settled().await && copy.docker.notes().is_empty(), "{:?}", copy.docker.notes());
    copy.docker.delete(&renewed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_start_at_once_one_owns_the_engine() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let gateways = futures_util::future::join_all((0..8).map(|_| Gateway::heir(&fixture, mark.with(None)))).await;
    let mut owners = 0;
    for gateway in &gateways {
        owners += usize::from(!gateway.settled().await);
    }
    assert_eq!(owners, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_decides() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let first = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(!first.settled().await);
    let owner = mark.labels(&fixture).await;

    let off = Gateway::heir(&fixture, mark.with(Some(ExpiryScope::Off))).await;
    let own = Gateway::heir(&fixture, mark.with(Some(ExpiryScope::Own))).await;
    assert!(off.docker.notes()[0].contains("\"off\"") && own.docker.notes()[0].contains("\"own\""));
    first.stop().await;
    let kept = off.docker.create(short(6)).await.unwrap().id;
    let (ended, foreign) = (own.docker.create(short(6)).await.unwrap().id, foreign(&fixture, 1).await);
    eventually("its own sandbox ends", async || !own.has(&ended).await).await;
    sleep(2).await;
    assert!(off.has(&kept).await && off.has(&foreign).await);
    assert_eq!(mark.labels(&fixture).await, owner, "neither takes the mark");

    // A home that was moved: its operator says so.
    let all = Gateway::visitor(&fixture, mark.all()).await;
    for id in [&kept, &foreign] {
        eventually("it ends", async || !all.has(id).await).await;
    }
    eventually("the mark is taken", async || mark.differs(&fixture, &owner).await).await;
    assert!(all.docker.notes().is_empty());
}

/// The one that was taken over from notices before it ends anything.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_loses_the_engine_says_so_and_a_lost_mark_is_made_again() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let first = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(!first.settled().await);
    fixture.engine.remove_volume(&mark.name, None::<RemoveVolumeOptions>).await.unwrap();
    let ended = foreign(&fixture, 1).await;
    eventually("it still ends all", async || !first.has(&ended).await).await;
    mark.labels(&fixture).await;

    fixture.engine.remove_volume(&mark.name, None::<RemoveVolumeOptions>).await.unwrap();
    let anybody_s = VolumeCreateRequest { name: Some(mark.name.clone()), ..Default::default() };
    fixture.engine.create_volume(anybody_s).await.unwrap();
    let kept = foreign(&fixture, 1).await;
    sleep(3).await;
    assert!(first.has(&kept).await && first.settled().await);
    first.docker.delete(&kept).await.unwrap();
}

/// What cannot be asked counts as a no.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_tell_its_owner_loses_no_sandbox() {
    let mark = Mark::new();
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    let volume = format!("/volumes/{}", mark.name);
    proxy.fail("GET", &volume, usize::MAX, "a bad day");
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("opensandbox.db"), "").unwrap();
    let docker = Fixture::beside(&proxy.path(), mark.with(None), home.path()).await;
    let is_unknown = || docker.notes().iter().any(|note| note.contains("cannot be told"));
    eventually("it says that it cannot tell", async || is_unknown()).await;
    let id = foreign(&fixture, 1).await;
    sleep(2).await;
    assert!(docker.get(&id).await.is_ok());
    proxy.forgive(&volume);
    eventually("it ends when the engine tells", async || docker.get(&id).await.is_err()).await;

    // Nor does one that does not say what other gateways told.
    proxy.fail("GET", "/volumes?", usize::MAX, "a bad day");
    let id = foreign(&fixture, 1).await;
    sleep(3).await;
    assert!(docker.get(&id).await.is_ok());
    proxy.forgive("/volumes?");
    docker.delete(&id).await.unwrap();
}

/// A home that cannot be written makes no mark that nobody could know again.
#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_cannot_be_written_owns_nothing() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("opensandbox");
    fs::write(&place, "a file in the folder's place").unwrap();
    let docker = Fixture::beside(&fixture.socket(), mark.with(None), Path::new(&place)).await;
    assert!(docker.notes().iter().any(|note| note.contains("cannot be read from or written to")));
    let (own, foreign) = (docker.create(short(6)).await.unwrap().id, foreign(&fixture, 1).await);
    sleep(2).await;
    assert!(fixture.engine.inspect_volume(&mark.name).await.is_err());
    assert!(docker.get(&foreign).await.is_ok());
    fs::remove_file(&place).unwrap();
    eventually("what it created ends", async || docker.get(&own).await.is_err()).await;
    docker.delete(&foreign).await.unwrap();
}

/// Removes the volumes with this label, as `docker volume prune` does; newer engines (API 1.42) do it only with `--all`, which
/// older ones do not know.
fn prune(label: &str) {
    let docker = |args: &[&str]| {
        let output = Command::new("docker").args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let named = docker(&["volume", "ls", "-q", "--filter", &format!("label={label}")]);
    let names: Vec<_> = named.split_whitespace().collect();
    if !names.is_empty() {
        docker(&[&["volume", "rm"][..], &names].concat());
    }
}

/// Whether the mark is gone or not, the engine stays whose it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_mark_makes_nobody_else_the_owner() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let owner = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(!owner.settled().await);
    let second = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(second.settled().await);
    let owner_home = owner.stop().await;
    // Its alone: others are on the engine.
    let of_owner =
        format!("opensandbox.io/gateway-owner={}", mark.labels(&fixture).await["opensandbox.io/gateway-owner"]);
    prune(&of_owner);
    assert!(!fixture.has_volume(&mark.name).await);
    let kept = foreign(&fixture, 1).await;
    sleep(3).await;
    assert!(second.settled().await && second.has(&kept).await && !fixture.has_volume(&mark.name).await);
    let second = Gateway::at(&fixture, second.stop().await, mark.with(None)).await;
    assert!(second.settled().await, "a restart changes nothing");
    sleep(2).await;
    assert!(second.has(&kept).await && !fixture.has_volume(&mark.name).await);

    let owner = Gateway::at(&fixture, owner_home, mark.with(None)).await;
    eventually("the owner ends what is its", async || !owner.has(&kept).await).await;
    assert!(!owner.settled().await && fixture.has_volume(&mark.name).await);
    prune(&of_owner);
    eventually("the mark is made again, while nothing asks for it", async || fixture.has_volume(&mark.name).await)
        .await;

    // A home that takes the engine over forgets that it was another's.
    let noted = |home: &TempDir| fs::read_to_string(home.path().join("gateway.json")).unwrap().contains("foreign");
    let home = second.stop().await;
    assert!(noted(&home));
    owner.stop().await;
    let before = mark.labels(&fixture).await;
    let second = Gateway::at(&fixture, home, mark.all()).await;
    eventually("it takes the mark", async || mark.differs(&fixture, &before).await).await;
    let second = Gateway::at(&fixture, second.stop().await, mark.with(None)).await;
    assert!(!second.settled().await && !noted(&second.home));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_expiry_is_told_again() {
    let (fixture, mark) = (Fixture::start().await, Mark::new());
    let owner = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(!owner.settled().await);
    let visitor = Gateway::visitor(&fixture, mark.with(None)).await;
    assert!(visitor.settled().await);
    let ids = [owner.docker.create(short(600)).await.unwrap().id, visitor.docker.create(short(600)).await.unwrap().id];
    visitor.docker.renew(&ids[0], in_seconds(3600)).await.unwrap();
    owner.docker.renew(&ids[1], in_seconds(3600)).await.unwrap();
    let latest = owner.docker.renew(&ids[0], in_seconds(7200)).await.unwrap().to_label();
    let alone = owner.docker.create(short(600)).await.unwrap().id;
    owner.docker.renew(&alone, in_seconds(3600)).await.unwrap();
    let latest = format!("opensandbox.io/expires-at={latest}");
    let all_told = async || {
        let both = format!("opensandbox.io/expiry-of={}", ids[0]);
        volumes(&fixture, &[&both, &latest]).await == 1 && told(&fixture, &ids[1]).await > 0
    };
    assert!(all_told().await);
    for _ in 0..2 {
        for id in &ids {
            prune(&format!("opensandbox.io/expiry-of={id}"));
        }
        assert!(!all_told().await);
        eventually("it is told again", all_told).await;
    }
    // Also what was pruned while its gateway did not run.
    let home = visitor.stop().await;
    prune(&format!("opensandbox.io/expiry-of={}", ids[0]));
    let visitor = Gateway::at(&fixture, home, mark.with(None)).await;
    eventually("it is told again, and the latest time counts", all_told).await;
    assert_eq!(told(&fixture, &alone).await, 0, "nobody else would end it");
    visitor.docker.delete(&ids[0]).await.unwrap();
    owner.docker.delete(&ids[1]).await.unwrap();
    owner.docker.delete(&alone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_the_mark_that_hangs_holds_up_no_other_sandbox() {
    let mark = Mark::new();
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("opensandbox.db"), "").unwrap();
    let docker = Fixture::beside(&proxy.path(), mark.with(None), home.path()).await;
    let (one, other) = (docker.create(short(600)).await.unwrap().id, docker.create(short(600)).await.unwrap().id);
    docker.renew(&one, in_seconds(1200)).await.unwrap();
    let gate = proxy.hold_next("GET", &format!("/volumes/{}", mark.name));
    let hanging = docker.renew(&one, in_seconds(3600));
    let quick = async {
        gate.reached().await;
        let renewed = tokio::time::timeout(Duration::from_secs(20), docker.renew(&other, in_seconds(3600))).await;
        gate.open();
        renewed.expect("it waits for the other").unwrap();
    };
    let (hung, ()) = tokio::join!(hanging, quick);
    hung.unwrap();
    assert_eq!(docker.notes(), [""; 0]);
    for id in [&one, &other] {
        docker.delete(id).await.unwrap();
    }
}

/// As docker-socket-proxy does, unless it is told to let these through.
#[tokio::test(flavor = "multi_thread")]
async fn where_volumes_are_refused_expiry_and_renewals_go_by_the_own_files() {
    let mark = Mark::new();
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    for refused in ["/volumes", "/info", "/networks"] {
        proxy.refuse("", refused, 403);
    }
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("opensandbox.db"), "").unwrap();
    let docker = Fixture::beside(&proxy.path(), mark.with(None), home.path()).await;
    eventually("it says what does not work", async || {
        docker.notes().iter().any(|note| note.contains("Calls on volumes are refused"))
    })
    .await;
    let own = docker.create(short(6)).await.unwrap().id;
    let (ended, renewed) = (foreign(&fixture, 2).await, foreign(&fixture, 3).await);
    docker.renew(&renewed, in_seconds(8)).await.unwrap();
    for id in [&own, &ended] {
        eventually("it ends by its time", async || docker.get(id).await.is_err()).await;
    }
    sleep(2).await;
    assert!(docker.get(&renewed).await.is_ok(), "it was renewed");
    eventually("it ends by its new time", async || docker.get(&renewed).await.is_err()).await;
    drop(docker);

    // What the home knows still counts: another's engine is not this home's because nobody may look any more.
    let second = Gateway::heir(&fixture, mark.with(None)).await;
    assert!(!second.settled().await);
    let docker = Fixture::beside(&fixture.socket(), mark.with(None), home.path()).await;
    eventually("the engine is another's", async || docker.notes().iter().any(|note| note.contains("another"))).await;
    drop(docker);
    // With the engine's id, that is.
    let proxy = &fixture.proxy;
    proxy.forgive("/info");
    let docker = Fixture::beside(&proxy.path(), mark.with(None), home.path()).await;
    eventually("the engine is another's", async || docker.notes().iter().any(|note| note.contains("another"))).await;
    let kept = foreign(&fixture, 60).await;
    let error = docker.renew(&kept, in_seconds(3600)).await.unwrap_err();
    assert!(error.message.contains("cannot be told"), "the owner would end it before: {error}");
    by_hand::remove(&fixture, &format!("sandbox-{kept}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_networks_are_refused_the_engine_says_which_there_are() {
    let options = DockerOptions { network_mode: "osb-test-nowhere".to_owned(), ..options() };
    let fixture = Fixture::start_with(options).await;
    fixture.proxy.refuse("GET", "/networks", 403);
    let error = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap_err();
    assert!(error.message.contains("osb-test-nowhere not found"), "{error}");
}
