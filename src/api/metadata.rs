//! `PATCH /sandboxes/{sandbox_id}/metadata` (http-api.md §8).

use serde_json::Value;

use super::{extract, payload};
use crate::{
    model::{
        read,
        sandbox::Sandbox,
        violation::{Invalid, Report},
    },
    problem::ApiError,
    runtime::Runtime,
};

/// Changes a sandbox's metadata. Only the body's form is checked here: that the sandbox exists goes before the rules for
/// keys and values.
///
/// # Errors
/// A body that is no map from strings to strings or null, or the runtime's failure.
pub async fn patch(
    runtime: &dyn Runtime,
    id: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Sandbox, ApiError> {
    let read = |content_type: Option<&str>, body: &[u8]| read_patch(&extract::json_map(content_type, body)?);
    let patch = payload::parsed(content_type, body, read).await?;
    Ok(runtime.patch_metadata(id, patch.into_iter().collect()).await?)
}

/// A value to set, or null to take the key away.
fn read_patch(body: &Value) -> Result<Vec<(String, Option<String>)>, Invalid> {
    let mut report = Report::new("body");
    let read = read::map(&mut report, body, |report, value| match value {
        Value::Null => Some(None),
        value => read::string(report, value).map(Some),
    });
    report.finish(read.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_takes_away_and_other_values_are_refused() {
        let read = |body: Value| read_patch(&body).map_err(|invalid| serde_json::to_value(invalid.0).unwrap());
        let pairs = vec![("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)];
        assert_eq!(read(json!({"a": "1", "b": null})), Ok(pairs));
        assert_eq!(read(json!({})), Ok(Vec::new()));
        let violation = |name: &str, input: Value| json!({"type": "string_type", "loc": ["body", name], "msg": "Input should be a valid string", "input": input});
        assert_eq!(
            read(json!({"a": 1, "b": ["x"], "c": "d"})),
            Err(json!([violation("a", json!(1)), violation("b", json!(["x"]))]))
        );
        let msg = "Input should be a valid dictionary";
        assert_eq!(read(json!([])), Err(json!([{"type": "dict_type", "loc": ["body"], "msg": msg, "input": []}])));
    }
}
