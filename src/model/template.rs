//! The form of requests about templates (http-api.md §16). Only the form: no runtime of this version has templates.

use serde_json::Value;

use super::{
    read::{self, Members},
    violation::{Invalid, Report},
};

/// The members of a creation. No other is allowed.
const MEMBERS: [&str; 8] =
    ["image", "resourceLimits", "entrypoint", "env", "metadata", "readiness", "publish", "format"];

/// Checks a request that creates a template.
///
/// # Errors
/// Every field that breaks a rule, in the order in which the existing server names them.
pub fn check_create(body: &Value) -> Result<(), Invalid> {
    let mut report = Report::new("body");
    if let Some(members) = read::object(&mut report, body) {
        check_members(&mut report, members);
        read::forbid_others(&mut report, members, &MEMBERS);
    }
    report.finish(())
}

fn check_members(report: &mut Report, members: &Members) {
    read::required(report, members, "image", not_empty);
    strings(report, members, "resourceLimits");
    read::optional(report, members, "entrypoint", |r, v| read::list(r, v, 1, read::string));
    strings(report, members, "env");
    strings(report, members, "metadata");
    read::optional(report, members, "readiness", readiness);
    read::required(report, members, "publish", not_empty);
    // It has a default, so null is no format.
    if members.contains_key("format") {
        read::required(report, members, "format", |r, v| read::literal(r, v, &["native", "overlaybd"]));
    }
}

fn strings(report: &mut Report, members: &Members, name: &str) {
    read::optional(report, members, name, |r, v| read::map(r, v, read::string));
}

fn readiness(report: &mut Report, value: &Value) -> Option<()> {
    let members = read::object(report, value)?;
    read::optional(report, members, "probe", read::string);
    read::optional(report, members, "warmupSeconds", |r, v| read::integer(r, v, 0..=u64::MAX));
    Some(())
}

fn not_empty(report: &mut Report, value: &Value) -> Option<String> {
    read::string_of(report, value, 1..=usize::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(body: &Value) -> Vec<(&'static str, String)> {
        let invalid = check_create(body).unwrap_err();
        let place = |loc: &[Value]| loc.iter().skip(1).map(Value::to_string).collect::<String>().replace('"', ".");
        invalid.0.iter().map(|violation| (violation.rule, place(&violation.loc))).collect()
    }

    #[test]
    fn a_good_template_passes() {
        let body = json!({
            "image": "x", "publish": "s3://b", "format": "native", "env": {"A": "1"}, "resource_limits": {"cpu": "1"},
            "metadata": null, "entrypoint": ["a"], "readiness": {"probe": "x", "warmupSeconds": 0, "other": 1},
        });
        assert_eq!(check_create(&body), Ok(()));
    }

    #[test]
    fn every_fault_is_named_in_the_peers_order() {
        let body = json!({
            "image": "", "publish": "s3://b", "format": "zip", "foo": 1, "entrypoint": [],
            "readiness": {"warmupSeconds": -1},
        });
        let expected = [
            ("string_too_short", ".image."),
            ("too_short", ".entrypoint."),
            ("greater_than_equal", ".readiness..warmupSeconds."),
            ("literal_error", ".format."),
            ("extra_forbidden", ".foo."),
        ];
        assert_eq!(rules(&body), expected.map(|(rule, at)| (rule, at.to_owned())));
        assert_eq!(rules(&json!({})).len(), 2);
        assert_eq!(rules(&json!({"image": "x", "publish": "p", "format": null}))[0].0, "literal_error");
    }
}
