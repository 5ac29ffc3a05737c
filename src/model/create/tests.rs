use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::volume::{OssfsVersion, Source, Wanted};

/// A good request, with other members laid over it; null takes a member away.
fn with(overlay: Value) -> Value {
    let mut body = json!({"image": {"uri": "x"}, "entrypoint": ["a"], "resourceLimits": {}});
    for (key, value) in overlay.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn detail(body: Value) -> Value {
    match CreateRequest::from_json(&body) {
        Ok(request) => panic!("{body} was accepted: {request:?}"),
        Err(Invalid(found)) => serde_json::to_value(found).unwrap(),
    }
}

/// The only violation's rule, location and text.
fn refused(body: Value) -> (String, Value, String) {
    let found = detail(body);
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    let text = |name: &str| found[0][name].as_str().unwrap().to_owned();
    (text("type"), found[0]["loc"].clone(), text("msg"))
}

fn broken_rule(body: Value) -> String {
    let (rule, loc, msg) = refused(body);
    assert_eq!((rule.as_str(), loc), ("value_error", json!(["body"])));
    msg.strip_prefix("Value error, ").unwrap().to_owned()
}

#[test]
fn reads_every_field_in_both_spellings() {
    let request = CreateRequest::from_json(&json!({
        "image": {"uri": "x", "auth": {"username": "u", "password": "p"}, "other": 1},
        "platform": {"os": "Linux", "arch": "AMD64"},
        "timeout": "3600",
        "resource_limits": {"cpu": "1"},
        "resourceRequests": {"cpu": "1"},
        "env": {"B": "1", "A": null},
        "metadata": {"k": "v"},
        "entrypoint": ["sleep", "1"],
        "networkPolicy": {"defaultAction": "deny", "egress": [{"action": "allow", "target": "a.com"}]},
        "credential_proxy": {"enabled": "yes"},
        "secure_access": 1,
        "volumes": [{"name": "v", "mount_path": "/x", "host": {"path": "/a"}}],
        "extensions": {"poolRef": " "},
        "foo": 1,
    }))
    .unwrap();
    let image = request.image.as_ref().unwrap();
    let auth = image.auth.as_ref().unwrap();
    assert_eq!((image.uri.as_str(), auth.username.as_str(), auth.password.as_str()), ("x", "u", "p"));
    assert_eq!(request.platform.as_ref().unwrap().os, "Linux");
    assert_eq!(request.timeout, Some(3600));
    assert_eq!(request.env, [("B".to_owned(), Some("1".to_owned())), ("A".to_owned(), None)]);
    assert_eq!((request.resource_limits.len(), request.metadata.len(), request.volumes.len()), (1, 1, 1));
    assert!(
        request.network_policy.is_some()
            && request.credential_proxy
            && request.secure_access
            && request.lifecycle.is_none()
    );
    assert_eq!(request.pool_ref(), None);
    assert!(!format!("{request:?}").contains("\"p\""));
}

#[test]
fn null_and_blank_are_absent() {
    let body = with(json!({"snapshotId": " ", "templateId": " ", "timeout": null, "env": null, "volumes": null}));
    let request = CreateRequest::from_json(&body).unwrap();
    assert_eq!((request.snapshot_id, request.template_id, request.timeout), (None, None, None));
    let restore = json!({"image": {"uri": " "}, "snapshotId": "s", "resourceLimits": {}});
    let request = CreateRequest::from_json(&restore).unwrap();
    assert!(request.image.is_none() && request.entrypoint.is_empty());
}

#[test]
fn a_body_is_an_object() {
    let (rule, loc, msg) = refused(json!([]));
    assert_eq!((rule.as_str(), loc), ("model_attributes_type", json!(["body"])));
    assert_eq!(msg, "Input should be a valid dictionary or object to extract fields from");
}

#[test]
fn fields_are_refused_as_in_transcript_03() {
    for (overlay, expected) in [
        (
            json!({"image": {}}),
            json!({"type": "missing", "loc": ["body", "image", "uri"], "msg": "Field required", "input": {}}),
        ),
        (
            json!({"image": "x"}),
            json!({"type": "model_attributes_type", "loc": ["body", "image"], "msg": "Input should be a valid dictionary or object to extract fields from", "input": "x"}),
        ),
        (
            json!({"entrypoint": []}),
            json!({"type": "too_short", "loc": ["body", "entrypoint"], "msg": "List should have at least 1 item after validation, not 0", "input": [], "ctx": {"field_type": "List", "min_length": 1, "actual_length": 0}}),
        ),
        (
            json!({"entrypoint": "a"}),
            json!({"type": "list_type", "loc": ["body", "entrypoint"], "msg": "Input should be a valid list", "input": "a"}),
        ),
        (
            json!({"timeout": 59}),
            json!({"type": "greater_than_equal", "loc": ["body", "timeout"], "msg": "Input should be greater than or equal to 60", "input": 59, "ctx": {"ge": 60}}),
        ),
        (
            json!({"timeout": "abc"}),
            json!({"type": "int_parsing", "loc": ["body", "timeout"], "msg": "Input should be a valid integer, unable to parse string as an integer", "input": "abc"}),
        ),
        (
            json!({"timeout": 60.5}),
            json!({"type": "int_from_float", "loc": ["body", "timeout"], "msg": "Input should be a valid integer, got a number with a fractional part", "input": 60.5}),
        ),
        (
            json!({"resourceLimits": {"cpu": 1}}),
            json!({"type": "string_type", "loc": ["body", "resourceLimits", "cpu"], "msg": "Input should be a valid string", "input": 1}),
        ),
        (
            json!({"env": {"A": 1}}),
            json!({"type": "string_type", "loc": ["body", "env", "A"], "msg": "Input should be a valid string"}),
        ),
        (
            json!({"platform": {"os": "linux"}}),
            json!({"type": "missing", "loc": ["body", "platform", "arch"], "msg": "Field required", "input": {"os": "linux"}}),
        ),
        (
            json!({"networkPolicy": {"egress": [{"action": "allow", "target": ""}]}}),
            json!({"type": "string_too_short", "loc": ["body", "networkPolicy", "egress", 0, "target"], "msg": "String should have at least 1 character", "input": "", "ctx": {"min_length": 1}}),
        ),
        (
            json!({"templateId": ""}),
            json!({"type": "string_too_short", "loc": ["body", "templateId"], "msg": "String should have at least 1 character", "input": "", "ctx": {"min_length": 1}}),
        ),
    ] {
        assert_eq!(detail(with(overlay)), json!([expected]));
    }
}

#[test]
fn hooks_are_refused_as_in_transcript_03() {
    let found = |lifecycle: Value| detail(with(json!({ "lifecycle": lifecycle })));
    assert_eq!(
        found(json!({"foo": 1})),
        json!([{"type": "extra_forbidden", "loc": ["body", "lifecycle", "foo"], "msg": "Extra inputs are not permitted", "input": 1}])
    );
    assert_eq!(
        found(json!({"preStart": {"command": [" "]}})),
        json!([{"type": "value_error", "loc": ["body", "lifecycle", "preStart"], "msg": "Value error, Lifecycle hook command must not be empty.", "ctx": {"error": {}}}])
    );
    let hook = |name: &str| json!({"name": name, "schedule": "* * * * *", "command": ["x"]});
    assert_eq!(
        found(json!({"periodic": [hook("a"), hook(" a ")]})),
        json!([{"type": "value_error", "loc": ["body", "lifecycle"], "msg": "Value error, Periodic lifecycle hook names must be unique.", "ctx": {"error": {}}}])
    );
    let bounds = json!({
        "preStart": {"command": ["x"], "timeoutSeconds": 10801},
        "periodic": [{"name": "a", "schedule": "x", "command": ["x"], "timeoutSeconds": 301}],
    });
    assert_eq!(
        found(bounds),
        json!([
            {"type": "less_than_equal", "loc": ["body", "lifecycle", "preStart", "timeoutSeconds"], "msg": "Input should be less than or equal to 10800", "input": 10801, "ctx": {"le": 10800}},
            {"type": "less_than_equal", "loc": ["body", "lifecycle", "periodic", 0, "timeoutSeconds"], "msg": "Input should be less than or equal to 300", "input": 301, "ctx": {"le": 300}},
        ])
    );
    let good = json!({"pre_start": {"command": ["x"], "timeout_seconds": 1}, "periodic": [hook("a"), hook("b")]});
    let read = CreateRequest::from_json(&with(json!({ "lifecycle": good }))).unwrap().lifecycle.unwrap();
    let hook = |name: &str| format!(r#"{{"name":"{name}","schedule":"* * * * *","command":["x"]}}"#);
    let (a, b) = (hook("a"), hook("b"));
    let expected = format!(r#"{{"preStart":{{"command":["x"],"timeoutSeconds":1}},"periodic":[{a},{b}]}}"#);
    assert_eq!(read.to_json().unwrap(), expected);
}

#[test]
fn volumes_are_refused_as_in_transcript_03() {
    let volume = |overlay: Value| {
        let mut volume = json!({"name": "v", "mountPath": "/x"});
        volume.as_object_mut().unwrap().extend(overlay.as_object().unwrap().clone());
        refused(with(json!({ "volumes": [volume] })))
    };
    let at = |path: Value| {
        let mut loc = json!(["body", "volumes", 0]);
        loc.as_array_mut().unwrap().extend(path.as_array().unwrap().clone());
        loc
    };
    let oss = |overlay: Value| {
        let mut oss = json!({"bucket": "abc", "endpoint": "e", "accessKeyId": "a", "accessKeySecret": "b"});
        oss.as_object_mut().unwrap().extend(overlay.as_object().unwrap().clone());
        json!({ "ossfs": oss })
    };
    let one = "Value error, Exactly one backend (host, pvc, ossfs) must be specified, but";
    let mismatch = "string_pattern_mismatch";
    let name = "String should match pattern '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'";
    for (overlay, rule, path, msg) in [
        (json!({}), "value_error", json!([]), format!("{one} none was provided.")),
        (
            json!({"host": {"path": "/a"}, "pvc": {"claimName": "c"}}),
            "value_error",
            json!([]),
            format!("{one} multiple were provided."),
        ),
        (json!({"name": "V", "host": {"path": "/a"}}), mismatch, json!(["name"]), name.to_owned()),
        (
            json!({"mountPath": "x", "host": {"path": "/a"}}),
            mismatch,
            json!(["mountPath"]),
            "String should match pattern '^/.*'".to_owned(),
        ),
        (
            json!({"host": {"path": "a"}}),
            mismatch,
            json!(["host", "path"]),
            r"String should match pattern '^(/|[A-Za-z]:[\\/])'".to_owned(),
        ),
        (json!({"pvc": {"claimName": "-"}}), mismatch, json!(["pvc", "claimName"]), name.to_owned()),
        (
            oss(json!({"accessKeyId": null})),
            "value_error",
            json!(["ossfs"]),
            "Value error, OSSFS inline credentials are required: accessKeyId and accessKeySecret.".to_owned(),
        ),
        (
            oss(json!({"version": "3"})),
            "literal_error",
            json!(["ossfs", "version"]),
            "Input should be '1.0' or '2.0'".to_owned(),
        ),
        (
            oss(json!({"bucket": "ab"})),
            "string_too_short",
            json!(["ossfs", "bucket"]),
            "String should have at least 3 characters".to_owned(),
        ),
    ] {
        assert_eq!(volume(overlay.clone()), (rule.to_owned(), at(path), msg), "{overlay}");
    }
}

#[test]
fn volumes_of_each_kind_are_read() {
    let volumes = json!([
        {"name": "a", "mountPath": "/a", "host": {"path": "C:\\x"}, "subPath": "b", "readOnly": true},
        {"name": "b", "mountPath": "/b", "pvc": {"claimName": "c", "storage": "1.5Gi", "accessModes": ["x"]}},
        {"name": "c", "mountPath": "/c", "ossfs": {"bucket": "abc", "endpoint": "e", "accessKeyId": "a", "accessKeySecret": "s3cr"}},
    ]);
    let volumes = CreateRequest::from_json(&with(json!({ "volumes": volumes }))).unwrap().volumes;
    assert!(matches!(&volumes[0].source, Source::Host(path) if path == "C:\\x"));
    assert_eq!((volumes[0].read_only, volumes[0].sub_path.as_deref()), (true, Some("b")));
    let Source::Claim(claim) = &volumes[1].source else { panic!("{volumes:?}") };
    assert!(claim.name == "c" && claim.create_if_not_exists && !claim.delete_on_termination);
    let Wanted { storage_class, storage, access_modes } = &claim.wanted;
    assert_eq!((storage_class.as_deref(), storage.as_deref(), access_modes.len()), (None, Some("1.5Gi"), 1));
    let Source::Ossfs(ossfs) = &volumes[2].source else { panic!("{volumes:?}") };
    assert_eq!((ossfs.version, ossfs.access_key_secret.expose()), (OssfsVersion::V2, "s3cr"));
    assert!(!format!("{volumes:?}").contains("s3cr"));
}

#[test]
fn a_policy_s_rules_are_a_list() {
    let policy = with(json!({"networkPolicy": {"egress": null}}));
    let (rule, loc, _) = refused(policy);
    assert_eq!((rule.as_str(), loc), ("list_type", json!(["body", "networkPolicy", "egress"])));
    let policy = with(json!({"networkPolicy": {"default_action": "deny"}}));
    let policy = CreateRequest::from_json(&policy).unwrap().network_policy.unwrap();
    assert_eq!((policy.default_action.as_deref(), policy.egress.len()), (Some("deny"), 0));
}

#[test]
fn sources_are_checked_in_order() {
    let template = |overlay: Value| {
        let mut body = json!({"templateId": "t"});
        body.as_object_mut().unwrap().extend(overlay.as_object().unwrap().clone());
        body
    };
    let pool = json!({"poolRef": "p"});
    for (body, text) in [
        (json!({}), "Exactly one of image or snapshotId must be provided."),
        (with(json!({"image": {"uri": " "}})), "Exactly one of image or snapshotId must be provided."),
        (with(json!({"snapshotId": "s"})), "Exactly one of image or snapshotId must be provided."),
        (with(json!({"entrypoint": null})), "Entrypoint is required when image is provided."),
        (with(json!({"resourceLimits": null})), "resourceLimits is required when poolRef is not provided."),
        (with(json!({"credentialProxy": {"enabled": true}})), "credentialProxy.enabled requires networkPolicy."),
        (
            json!({"env": {"OPENSANDBOX_LIFECYCLE": null}}),
            "Environment variable 'OPENSANDBOX_LIFECYCLE' is reserved. Use the lifecycle request field instead.",
        ),
        (json!({"snapshotId": "s", "extensions": pool}), "snapshotId cannot be used together with poolRef."),
        (
            json!({"lifecycle": {}, "snapshotId": "s", "extensions": pool}),
            "lifecycle cannot be used together with poolRef.",
        ),
        (template(json!({})), "timeout is required when templateId is provided."),
        (
            template(
                json!({"timeout": 60, "image": {"uri": "x"}, "env": {}, "entrypoint": ["a"], "secureAccess": true, "credentialProxy": {}}),
            ),
            "templateId cannot be combined with: credentialProxy, entrypoint, env, image, secureAccess; the workload shape is fixed by the template's golden image.",
        ),
    ] {
        assert_eq!(broken_rule(body.clone()), text, "{body}");
    }
    let pooled = CreateRequest::from_json(&json!({ "extensions": pool })).unwrap();
    assert_eq!(pooled.pool_ref(), Some("p"));
    assert!(CreateRequest::from_json(&template(json!({"timeout": 60, "secureAccess": false}))).is_ok());
}

#[test]
fn no_secret_is_repeated() {
    let body = json!({
        "image": {"auth": {"username": "hunter1", "password": "hunter2"}},
        "env": {"A": ["hunter3"]},
        "volumes": [{"ossfs": {"accessKeyId": "hunter4", "accessKeySecret": "hunter5"}}, {"ossfs": "hunter6"}],
        "networkPolicy": {"egress": 1},
    });
    let found = detail(body).to_string();
    for secret in ["hunter1", "hunter2", "hunter3", "hunter4", "hunter5"] {
        assert!(!found.contains(secret), "{found}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "image",
        "uri",
        "auth",
        "platform",
        "os",
        "timeout",
        "resourceLimits",
        "env",
        "lifecycle",
        "preStart",
        "periodic",
        "command",
        "name",
        "entrypoint",
        "networkPolicy",
        "egress",
        "volumes",
        "host",
        "pvc",
        "ossfs",
        "extensions",
        "templateId",
        "poolRef",
        "",
    ]);
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_panics(body in any_json()) {
        if let Err(Invalid(found)) = CreateRequest::from_json(&body) {
            prop_assert!(!found.is_empty());
        }
    }
}

#[test]
fn splits_only_a_lone_string_with_a_space() {
    let command = |words: &[&str]| {
        let entrypoint = words.iter().map(|word| (*word).to_owned()).collect();
        CreateRequest { entrypoint, ..CreateRequest::default() }.command()
    };
    assert_eq!(command(&["sh -c 'a b' \"c\""]), ["sh", "-c", "a b", "c"]);
    assert_eq!(command(&["a b", "c"]), ["a b", "c"]);
    assert_eq!(command(&["tru'e"]), ["tru'e"]);
    assert_eq!(command(&["unclosed 'quote"]), ["unclosed 'quote"]);
    assert_eq!(command(&[" "]), [" "]);
    assert!(command(&[]).is_empty());
}
