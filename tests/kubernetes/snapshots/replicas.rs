//! Two gateways that share one store.

use serde_json::json;

use super::{LONG, World, created, object_name, reaches, shown, until_gone};
use crate::{
    cluster::{NAMESPACE, SNAPSHOTS},
    fixture::ask,
    support::{eventually, postgres::Database},
};

#[tokio::test]
async fn gateways_of_one_store_show_the_same_and_ask_again_for_what_is_lost() {
    let world = World::start();
    let database = Database::create().await;
    let section = format!(
        "[store]\ntype = \"postgresql\"\n[store.postgresql]\ndsn = \"{}\"\nsnapshot_recovery_interval_seconds = 1\n",
        database.dsn()
    );
    let [one, two] = [(); 2].map(|()| world.cluster.gateway("").section(&section).start());
    let status =
        json!({"status": {"phase": "Succeed", "containers": [{"containerName": "sandbox", "imageUri": "r/i:1"}]}});
    let end = |id: &str| world.cluster.server.patch(&SNAPSHOTS, NAMESPACE, &object_name(id), &status);
    let id = created(&one).await;
    assert_eq!(shown(&two, &id).await["status"]["state"], "Creating");
    end(&id);
    for gateway in [&two, &one] {
        reaches(gateway, &id, "Ready").await;
    }
    is_removed_by(&two, &id).await;
    until_gone(&one, &id).await;
    // Nobody has an image of it yet.
    let id = created(&one).await;
    world.cluster.server.remove(&SNAPSHOTS, NAMESPACE, &object_name(&id));
    for gateway in [&two, &one] {
        assert_eq!(shown(gateway, &id).await["status"]["state"], "Creating");
    }
    database.texts("UPDATE snapshots SET created_at = '2026-01-01T00:00:00Z'").await;
    eventually("another request", LONG, || world.objects().len() == 1).await;
    end(&id);
    for gateway in [&two, &one] {
        reaches(gateway, &id, "Ready").await;
    }
    is_removed_by(&one, &id).await;
    until_gone(&two, &id).await;
    assert!(world.objects().is_empty());
    drop((one, two));
    database.remove().await;
}

async fn is_removed_by(gateway: &crate::support::gateway::Gateway, id: &str) {
    assert_eq!(ask(gateway, "DELETE", &format!("/v1/snapshots/{id}"), "").await.status(), 204);
}
