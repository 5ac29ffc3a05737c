//! `specs/sandbox-lifecycle.yml` against the router, and against the rules of OpenAPI 3.1; the documents' links.

#![allow(clippy::unwrap_used, reason = "a test's failure is the panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use http::Method;
use opensandbox_gateway::{
    keys::{KeyName, Principal, Role},
    router::{self, ROUTES, Row},
    service::auth,
};
use serde_json::{Map, Value};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The names of an OpenAPI 3.1 document's sections of components.
const SECTIONS: [&str; 10] = [
    "schemas",
    "responses",
    "parameters",
    "examples",
    "requestBodies",
    "headers",
    "securitySchemes",
    "links",
    "callbacks",
    "pathItems",
];

fn spec() -> Value {
    // YAML's own value refuses a key that stands twice; JSON's takes the last one without a word.
    let text = include_str!("../specs/sandbox-lifecycle.yml");
    let spec: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).expect("the spec is YAML");
    serde_json::to_value(spec).expect("the spec's keys are texts")
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("not an object: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Each operation with its path, its method and its path item.
fn operations(spec: &Value) -> Vec<(&str, &str, &Value, &Value)> {
    let mut all = Vec::new();
    for (path, item) in object(&spec["paths"]) {
        for (method, operation) in object(item) {
            if METHODS.contains(&method.as_str()) {
                all.push((path.as_str(), method.as_str(), operation, item));
            }
        }
    }
    all
}

/// The path with its parameters' names taken away: `{sandbox_id}` and `{sandboxId}` are the same place.
fn place(path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// What `value` refers to, or itself.
fn resolved<'s>(spec: &'s Value, value: &'s Value) -> &'s Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(target) => {
            let pointer = target.strip_prefix('#').unwrap_or_else(|| panic!("{target} is another document's"));
            resolved(spec, spec.pointer(pointer).unwrap_or_else(|| panic!("{target} does not exist")))
        }
        None => value,
    }
}

/// Calls `visit` with every value in the document and where it is.
fn walk<'s>(value: &'s Value, at: &str, visit: &mut impl FnMut(&'s Value, &str)) {
    visit(value, at);
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| walk(member, &format!("{at}/{name}"), visit));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| walk(item, &format!("{at}/{index}"), visit));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_router_and_the_spec_have_the_same_routes() {
    let spec = spec();
    let described: BTreeSet<_> =
        operations(&spec).iter().map(|(path, method, ..)| (method.to_uppercase(), place(path))).collect();
    let known: Vec<_> = ROUTES.iter().flat_map(listed).collect();
    let listed = known.len();
    let known: BTreeSet<_> = known.into_iter().collect();
    let missing: Vec<_> = known.difference(&described).collect();
    let invented: Vec<_> = described.difference(&known).collect();
    assert!(missing.is_empty(), "the router knows and the spec does not: {missing:?}");
    assert!(invented.is_empty(), "the spec knows and the router does not: {invented:?}");
    assert_eq!(known.len(), listed, "a route is listed twice");
}

/// A row of the router's table as operations.
fn listed(row: &Row) -> Vec<(String, String)> {
    let places: Vec<_> = row.mounts.prefixes().iter().map(|mount| place(&format!("{mount}{}", row.path))).collect();
    row.methods().flat_map(|method| places.iter().map(move |place| (method.to_owned(), place.clone()))).collect()
}

#[test]
fn both_mounts_are_described_alike() {
    let spec = spec();
    let paths = object(&spec["paths"]);
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with("/sandboxes")) {
        assert_eq!(Some(item), paths.get(&format!("/v1{path}")), "{path}");
    }
}

#[test]
fn what_a_reader_is_refused_is_described() {
    let spec = spec();
    let reader = Principal { name: KeyName::new("viewer"), role: Role::Reader };
    for (path, method, operation, _) in operations(&spec) {
        let needs_key = operation.get("security").is_none_or(|security| !list(security).is_empty());
        let route = router::route(&method.to_uppercase().parse::<Method>().unwrap(), path).unwrap();
        let is_refused = needs_key && auth::authorize(&reader, &route).is_err();
        let described = resolved(&spec, &operation["responses"]["403"])["description"].as_str();
        let is_described = described.is_some_and(|text| text.contains("`INSUFFICIENT_ROLE`"));
        assert_eq!(is_described, is_refused, "{method} {path}");
    }
}

#[test]
fn the_head_of_the_document_is_that_of_3_1() {
    let spec = spec();
    let version = spec["openapi"].as_str().expect("openapi is a string");
    assert!(version.starts_with("3.1."), "{version}");
    assert!(spec["info"]["title"].is_string() && spec["info"]["version"].is_string());
    let known = ["openapi", "info", "jsonSchemaDialect", "servers", "paths", "webhooks", "components", "security"];
    for name in object(&spec).keys() {
        assert!(known.contains(&name.as_str()) || ["tags", "externalDocs"].contains(&name.as_str()), "{name}");
    }
    for section in object(&spec["components"]).keys() {
        assert!(SECTIONS.contains(&section.as_str()), "components.{section}");
    }
    for server in list(&spec["servers"]) {
        assert!(server["url"].is_string(), "{server}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let spec = spec();
    let mut targets = BTreeSet::new();
    walk(&spec, "#", &mut |value, at| {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            let pointer = target.strip_prefix('#').unwrap_or_else(|| panic!("{at}: {target} is another document's"));
            assert!(spec.pointer(pointer).is_some(), "{at}: {target} does not exist");
            targets.insert(target.to_owned());
        }
    });
    for (section, members) in object(&spec["components"]) {
        for name in object(members).keys().filter(|_| section != "securitySchemes") {
            assert!(targets.contains(&format!("#/components/{section}/{name}")), "{section}/{name} is not used");
        }
    }
}

#[test]
fn every_operation_is_whole() {
    let spec = spec();
    let tags: Vec<_> = list(&spec["tags"]).iter().map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation, _) in operations(&spec) {
        let at = format!("{method} {path}");
        assert!(operation["summary"].is_string(), "{at} has no summary");
        if let Some(id) = operation.get("operationId") {
            assert!(ids.insert(id.as_str().unwrap()), "{at}: {id} is taken");
        }
        for tag in list(&operation["tags"]) {
            assert!(tags.contains(&tag), "{at}: the tag {tag} is not declared");
        }
        for needed in list(operation.get("security").unwrap_or(&spec["security"])) {
            for scheme in object(needed).keys() {
                assert!(spec["components"]["securitySchemes"][scheme].is_object(), "{at}: no scheme {scheme}");
            }
        }
        let responses = object(&operation["responses"]);
        assert!(responses.keys().any(|status| status.starts_with('2')), "{at} never succeeds");
        for (status, response) in responses {
            let is_status = status.len() == 3 && status.parse::<u16>().is_ok_and(|code| (100..600).contains(&code));
            assert!(is_status || status == "default", "{at}: {status}");
            let response = resolved(&spec, response);
            assert!(response["description"].is_string(), "{at}: {status} has no description");
            has_schemas(&spec, response, &format!("{at}: {status}"));
        }
        if let Some(body) = operation.get("requestBody") {
            let body = resolved(&spec, body);
            assert!(!object(&body["content"]).is_empty(), "{at}: a body without content");
            has_schemas(&spec, body, &at);
        }
    }
}

#[test]
fn an_error_shows_an_example_of_its_own() {
    let spec = spec();
    for (path, method, operation, _) in operations(&spec) {
        for (status, response) in object(&operation["responses"]) {
            let Some(content) = resolved(&spec, response).get("content") else { continue };
            if !(status == "default" || status.starts_with(['4', '5'])) {
                continue;
            }
            let at = format!("{method} {path}: {status}");
            let text = resolved(&spec, response)["description"].as_str().unwrap();
            let json = &content["application/json"];
            let several = json.get("examples").map(object).into_iter().flatten().map(|(_, example)| &example["value"]);
            let examples: Vec<_> = json.get("example").into_iter().chain(several).collect();
            assert!(!examples.is_empty(), "{at} has no example, so a page shows any error's");
            for example in examples {
                let code = example["code"].as_str().unwrap_or_else(|| panic!("{at}: {example} has no code"));
                assert!(text.contains(&format!("`{code}`")), "{at}: {code} is not what it is said to be: {text}");
                assert!(example["message"].is_string(), "{at}: {example}");
            }
        }
    }
}

#[test]
fn no_parameter_has_an_example_that_a_page_would_send() {
    // "Try it out" fills them in: a newcomer's first request would ask for the sandboxes of a project that is not there.
    let spec = spec();
    for (path, method, operation, item) in operations(&spec) {
        for parameter in list(&operation["parameters"]).iter().chain(list(&item["parameters"])) {
            let parameter = resolved(&spec, parameter);
            let schema = resolved(&spec, &parameter["schema"]);
            let is_filled =
                [parameter, schema].iter().any(|it| it.get("example").is_some() || it.get("examples").is_some());
            assert!(!is_filled || path.starts_with("/docs/assets/"), "{method} {path}: {}", parameter["name"]);
        }
    }
}

/// Each media type has a schema that is there.
fn has_schemas(spec: &Value, holder: &Value, at: &str) {
    for (kind, content) in holder.get("content").map(object).into_iter().flatten() {
        assert!(kind.contains('/'), "{at}: {kind}");
        let schema = resolved(spec, &content["schema"]);
        assert!(schema.is_object() || schema.is_boolean(), "{at}: {kind} has no schema");
    }
}

#[test]
fn the_parameters_are_those_of_the_paths() {
    let spec = spec();
    for (path, method, operation, item) in operations(&spec) {
        let at = format!("{method} {path}");
        let mut parameters = BTreeMap::new();
        for holder in [item, operation] {
            let mut own = BTreeSet::new();
            for parameter in list(&holder["parameters"]) {
                let parameter = resolved(&spec, parameter);
                let key = (parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
                assert!(["query", "header", "path", "cookie"].contains(&key.0), "{at}: {key:?}");
                assert!(parameter.get("schema").is_some() ^ parameter.get("content").is_some(), "{at}: {key:?}");
                assert!(own.insert(key), "{at}: {key:?} is there twice");
                parameters.insert(key, parameter);
            }
        }
        let in_path = parameters.iter().filter(|((place, _), _)| *place == "path");
        let declared: BTreeSet<_> = in_path
            .map(|((_, name), parameter)| {
                assert_eq!(parameter["required"], true, "{at}: {name}");
                *name
            })
            .collect();
        let written: BTreeSet<_> =
            path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(declared, written, "{at}");
    }
}

/// What OpenAPI 3.0 wrote otherwise, and what no schema may say.
#[test]
fn schemas_are_json_schema_2020_12() {
    let spec = spec();
    const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
    walk(&spec, "#", &mut |value, at| {
        let Some(schema) = value.as_object().filter(|_| is_schema(at)) else { return };
        assert!(!schema.contains_key("nullable"), "{at}: nullable is of 3.0");
        for bound in ["exclusiveMinimum", "exclusiveMaximum"] {
            assert!(!schema.get(bound).is_some_and(Value::is_boolean), "{at}: {bound} is a number");
        }
        let types = match schema.get("type") {
            Some(Value::Array(types)) => types.clone(),
            Some(one) => vec![one.clone()],
            None => Vec::new(),
        };
        for kind in &types {
            assert!(kind.as_str().is_some_and(|kind| TYPES.contains(&kind)), "{at}: {kind} is no type");
        }
        if types.iter().any(|kind| kind == "array") {
            assert!(schema.contains_key("items") || schema.contains_key("prefixItems"), "{at}: an array of what?");
        }
        assert!(schema.get("examples").is_none_or(Value::is_array), "{at}: examples is a list");
        assert!(schema.get("enum").is_none_or(|values| !list(values).is_empty()), "{at}: an empty enum");
        let properties = schema.get("properties").map(object);
        for name in schema.get("required").map_or(&[][..], list) {
            let name = name.as_str().unwrap_or_else(|| panic!("{at}: required holds names"));
            assert!(properties.is_none_or(|properties| properties.contains_key(name)), "{at}: no property {name}");
        }
    });
}

/// Whether a schema stands at `at`: as a member of that name, a component, a property, or a part of another schema.
fn is_schema(at: &str) -> bool {
    let mut names = at.rsplit('/');
    let (last, before) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    let is_part = matches!(before, "properties" | "schemas" | "oneOf" | "anyOf" | "allOf" | "prefixItems");
    last == "schema" || last == "items" || last == "additionalProperties" || is_part
}

/// The most bytes of the README: a newcomer reads it whole.
const MAX_README: usize = 6 * 1024;

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "specs/contract/README.md"]
        .map(|place| root.join(place));
    let pages: Vec<_> = places.into_iter().flat_map(pages).collect();
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        let text = prose(&fs::read_to_string(&page).unwrap());
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let file = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(file.exists(), "{}: {target}", page.display());
            let Some(anchor) = anchor else { continue };
            let text = prose(&fs::read_to_string(file).unwrap());
            assert!(text.lines().any(|line| anchor_of(line) == anchor), "{}: no #{anchor}: {target}", page.display());
        }
    }
}

#[test]
fn the_readme_is_short() {
    assert!(include_str!("../README.md").len() <= MAX_README);
}

/// A page, or those in a folder.
fn pages(place: PathBuf) -> Vec<PathBuf> {
    if place.is_dir() {
        return fs::read_dir(place).unwrap().flat_map(|entry| pages(entry.unwrap().path())).collect();
    }
    if place.extension().is_some_and(|extension| extension == "md") { vec![place] } else { Vec::new() }
}

/// A page without what is code in blocks.
fn prose(page: &str) -> String {
    page.split("\n```").step_by(2).collect()
}

/// The anchor that a heading has, as GitHub makes it; nothing for other lines.
fn anchor_of(line: &str) -> String {
    let heading = line.strip_prefix('#').map_or("", |rest| rest.trim_start_matches('#').trim());
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.flat_map(char::to_lowercase).map(|char| if char == ' ' { '-' } else { char }).collect()
}
