//! `POST /sandboxes/{sandbox_id}/renew-expiration` (http-api.md §10). Pausing and resuming have no body and need nothing
//! but the runtime.

use serde::Serialize;
use serde_json::Value;

use super::{extract, payload};
use crate::{
    model::{
        read,
        timestamp::Timestamp,
        violation::{Invalid, Report},
    },
    problem::ApiError,
    runtime::Runtime,
};

/// The answer to a renewal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// When the sandbox ends now.
    pub expires_at: Timestamp,
}

/// Moves a sandbox's expiry. That the sandbox exists is checked before the time is found to be past (404 before 400).
///
/// # Errors
/// A body without a time, or the runtime's failure.
pub async fn renew(
    runtime: &dyn Runtime,
    id: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Renewed, ApiError> {
    let read = |content_type: Option<&str>, body: &[u8]| read_time(&extract::json_body(content_type, body)?);
    let time = payload::parsed(content_type, body, read).await?;
    Ok(Renewed { expires_at: runtime.renew(id, time).await? })
}

fn read_time(body: &Value) -> Result<Timestamp, Invalid> {
    let mut report = Report::new("body");
    let time = read::object(&mut report, body)
        .and_then(|members| read::required(&mut report, members, "expiresAt", Timestamp::read));
    // Without a time there is a violation; the fallback is never seen.
    report.finish(time).map(|time| time.unwrap_or_else(Timestamp::now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<String, Value> {
        read_time(&body).map(|time| time.to_string()).map_err(|invalid| serde_json::to_value(invalid.0).unwrap())
    }

    #[test]
    fn the_time_may_be_spelt_in_two_ways() {
        assert_eq!(
            read(json!({"expiresAt": "2026-12-01T02:00:00.123456+02:00"})).unwrap(),
            "2026-12-01T00:00:00.123456Z"
        );
        assert_eq!(read(json!({"expires_at": 1_796_083_200})).unwrap(), "2026-12-01T00:00:00Z");
        let both = json!({"expires_at": 5, "expiresAt": "2026-12-01T00:00:00Z"});
        assert_eq!(read(both).unwrap(), "2026-12-01T00:00:00Z");
    }

    #[test]
    fn a_missing_time_is_refused_as_by_the_peer() {
        let expected = json!([{"type": "missing", "loc": ["body", "expiresAt"], "msg": "Field required", "input": {}}]);
        assert_eq!(read(json!({})), Err(expected));
        assert_eq!(read(json!([])).unwrap_err()[0]["type"], "model_attributes_type");
        assert_eq!(read(json!({"expiresAt": null})).unwrap_err()[0]["type"], "datetime_type");
    }
}
