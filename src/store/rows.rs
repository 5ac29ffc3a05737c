//! What the rows of both databases have in common: the order of the columns and the forms of the values.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::{Record, StoreError};
use crate::model::{
    snapshot::{Snapshot, SnapshotOwner, SnapshotState, SnapshotStatus},
    timestamp::Timestamp,
};

/// A record from a row of id, sandbox, name, restore configuration, state, reason, message, last transition, creation and
/// namespace, all of them text.
pub(super) fn record<R>(row: &R) -> Result<Record, StoreError>
where
    R: Row,
    usize: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
{
    let text = |column: usize| row.try_get::<Option<String>, _>(column);
    let must = |column: usize| Ok::<_, sqlx::Error>(text(column)?.unwrap_or_default());
    let id = must(0)?;
    let status = SnapshotStatus {
        state: state(&id, &must(4)?),
        reason: text(5)?,
        message: text(6)?,
        last_transition_at: text(7)?.and_then(|time| Timestamp::from_iso(&time)),
    };
    let created_at = time(&id, &must(8)?);
    let (image, tenant) = restored(&must(3)?);
    let owner = SnapshotOwner { namespace: text(9)?.map(Arc::from), tenant: tenant.map(Arc::from) };
    let snapshot = Snapshot { id, sandbox_id: must(1)?, name: text(2)?, status, created_at };
    Ok(Record { snapshot, image, owner })
}

/// A row that somebody has written by hand is shown all the same, as something that cannot be restored.
fn state(id: &str, name: &str) -> SnapshotState {
    SnapshotState::from_name(name).unwrap_or_else(|| {
        tracing::warn!(snapshot = id, state = name, "a snapshot's record has an unknown state; it counts as failed");
        SnapshotState::Failed
    })
}

fn time(id: &str, text: &str) -> Timestamp {
    Timestamp::from_iso(text).unwrap_or_else(|| {
        tracing::warn!(snapshot = id, "a snapshot's record has a time of creation that cannot be read");
        Timestamp::from(jiff::Timestamp::UNIX_EPOCH)
    })
}

/// The image and the tenant of a restore configuration. A tenant is any text but the empty one, here and in the statements that
/// list records.
fn restored(restore_config: &str) -> (Option<String>, Option<String>) {
    let config: Value = serde_json::from_str(restore_config).unwrap_or_default();
    let member = |name: &str| config.get(name)?.as_str();
    let image = member("image").filter(|image| !image.trim().is_empty());
    let tenant = member("tenant").filter(|tenant| !tenant.is_empty());
    (image.map(str::to_owned), tenant.map(str::to_owned))
}

/// The restore configuration of an image, in the existing server's form: sorted keys, a blank after each `,` and `:`. The
/// tenant, for which the table has no column, is a member that server does not look at.
pub(super) fn restore_config(image: Option<&str>, tenant: Option<&str>) -> String {
    let tenant = tenant.map_or_else(String::new, |tenant| format!(r#", "tenant": {}"#, json!(tenant)));
    format!(r#"{{"backend": null, "image": {}{tenant}}}"#, json!(image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_configuration_is_the_existing_server_s() {
        assert_eq!(restore_config(Some("a:b"), None), r#"{"backend": null, "image": "a:b"}"#);
        assert_eq!(restore_config(None, None), r#"{"backend": null, "image": null}"#);
        let of_tenant = restore_config(Some("a"), Some("t"));
        assert_eq!(of_tenant, r#"{"backend": null, "image": "a", "tenant": "t"}"#);
        assert_eq!(restored(&of_tenant), (Some("a".to_owned()), Some("t".to_owned())));
    }

    #[test]
    fn an_image_is_read_from_any_form_of_it() {
        assert_eq!(restored(r#"{"image":"a","backend":null}"#).0.as_deref(), Some("a"));
        for none in [r#"{"image":null,"tenant":""}"#, r#"{"image":" ","tenant":5}"#, "{}", "[]", "", "{image"] {
            assert_eq!(restored(none), (None, None), "{none}");
        }
    }
}
