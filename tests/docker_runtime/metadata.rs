//! Patches of metadata.

use std::{collections::BTreeMap, fs};

use opensandbox_gateway::{
    error::{Family, Kind},
    runtime::Runtime,
};

use crate::{
    by_hand,
    fixture::{Fixture, request},
};

pub(crate) fn patch(pairs: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_stored_as_the_existing_server_stores_it() {
    let mut fixture = Fixture::start().await;
    let mut request = request(&["sleep", "1000"]);
    request.metadata = [("zeta", "1"), ("alpha", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let id = fixture.docker.create(request).await.unwrap().id;
    let file = fixture.state.path().join(format!("metadata/{id}.json"));
    fixture.docker.patch_metadata(&id, patch(&[])).await.unwrap();
    assert!(!file.exists(), "nothing was changed");
    let changes = patch(&[("new", Some("v1")), ("b", None), ("uml", Some(""))]);
    let sandbox = fixture.docker.patch_metadata(&id, changes).await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), r#"{"alpha": "2", "zeta": "1", "new": "v1", "uml": ""}"#);
    assert_eq!(sandbox.metadata.len(), 4);
    assert_eq!(fixture.docker.get(&id).await.unwrap(), sandbox);

    let nothing = patch(&[("alpha", None), ("zeta", None), ("new", None), ("uml", None)]);
    assert!(fixture.docker.patch_metadata(&id, nothing).await.unwrap().metadata.is_empty());
    fixture.restart().await;
    assert!(fixture.docker.get(&id).await.unwrap().metadata.is_empty(), "the labels count no more");
    fixture.docker.delete(&id).await.unwrap();
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_patches_at_once_lose_nothing() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let patches = (0..50).map(|number| {
        let (set, taken) = (format!("k{number}"), format!("k{}", number + 100));
        let changes = patch(&[(&set, Some("v")), (&taken, None), ("last", Some(&set))]);
        fixture.docker.patch_metadata(&id, changes)
    });
    for answer in futures_util::future::join_all(patches).await {
        let metadata = answer.unwrap().metadata;
        assert_eq!(metadata[&metadata["last"]], "v", "each answer shows its own change");
    }
    assert_eq!(fixture.docker.get(&id).await.unwrap().metadata.len(), 51);
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_or_renewal_that_races_a_removal_leaves_no_file() {
    let fixture = Fixture::start().await;
    for _ in 0..5 {
        let id =
            by_hand::sandbox(&fixture, &[("opensandbox.io/expires-at", "2999-01-01T00:00:00+00:00")], "none").await;
        let later = "2999-02-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().into();
        let patches = (0..4).map(|number| {
            let value = number.to_string();
            fixture.docker.patch_metadata(&id, patch(&[("n", Some(&value))]))
        });
        let patches = futures_util::future::join_all(patches);
        let (patches, renewed, deleted) =
            tokio::join!(patches, fixture.docker.renew(&id, later), fixture.docker.delete(&id));
        deleted.unwrap();
        let errors = patches.into_iter().filter_map(Result::err).chain(renewed.err());
        errors.for_each(|error| assert_eq!(error.key(), (Family::Sandbox, Kind::NotFound), "{error}"));
        let error = fixture.docker.patch_metadata(&id, patch(&[("n", Some("9"))])).await.unwrap_err();
        assert_eq!(error.key(), (Family::Sandbox, Kind::NotFound));
        for folder in ["metadata", "metadata/_expiration"] {
            let folder = fixture.state.path().join(folder);
            let names = fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect());
            let names: Vec<_> = names.unwrap_or_default();
            assert!(!names.iter().any(|name| name.to_string_lossy().contains(&id)), "{names:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_patch_changes_nothing_and_is_told_after_a_missing_sandbox() {
    let fixture = Fixture::start().await;
    let id = by_hand::sandbox(&fixture, &[("maintainer", "Jö <a b>")], "none").await;
    let kind = async |id: &str, pairs: &[(&str, Option<&str>)]| {
        fixture.docker.patch_metadata(id, patch(pairs)).await.unwrap_err().key()
    };
    let reserved = [("a b", Some("x")), ("opensandbox.io/id", None)];
    assert_eq!(kind("nope", &reserved).await, (Family::Sandbox, Kind::NotFound));
    assert_eq!(kind("../x", &[]).await, (Family::Sandbox, Kind::NotFound));
    assert_eq!(kind(&id, &reserved).await, (Family::Metadata, Kind::Denied));
    assert_eq!(kind(&id, &[("ok", Some("1")), ("a b", Some("x"))]).await, (Family::Metadata, Kind::Invalid));
    // An image's own label may break the rules; that is not the patch's fault.
    let sandbox = fixture.docker.patch_metadata(&id, patch(&[("ok", Some("1")), ("a b", None)])).await.unwrap();
    assert_eq!(
        sandbox.metadata.into_iter().collect::<Vec<_>>(),
        [("maintainer".to_owned(), "Jö <a b>".to_owned()), ("ok".to_owned(), "1".to_owned())]
    );
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_refused_and_not_done() {
    let fixture = Fixture::start().await;
    let created = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap();
    let id = created.id;
    fs::write(fixture.state.path().join("metadata"), "in the folder's place").unwrap();
    let error = fixture.docker.patch_metadata(&id, patch(&[("a", Some("b"))])).await.unwrap_err();
    assert_eq!(error.key(), (Family::Metadata, Kind::Failed));
    let start = format!("The change of sandbox {id} could not be stored, so nothing was changed: ");
    assert!(error.message.starts_with(&start), "{error}");
    let later = "2999-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().into();
    assert_eq!(fixture.docker.renew(&id, later).await.unwrap_err().key(), (Family::Expiry, Kind::Failed));
    let sandbox = fixture.docker.get(&id).await.unwrap();
    assert!(sandbox.metadata.is_empty() && sandbox.expires_at == created.expires_at);
    fixture.docker.delete(&id).await.unwrap();
}
