//! Who asks, and whether it may (kubernetes-api.md §11).

use std::collections::HashMap;

use http::{HeaderMap, header::AUTHORIZATION};

use super::{
    failure::{Failure, quoted},
    resource::Target,
};

/// The user who may do everything.
pub const ADMIN: &str = "admin";

/// What a user may do. `*` stands for all.
#[derive(Debug, Clone)]
pub struct Rule {
    verbs: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
}

impl Rule {
    /// These verbs (`get,list,watch`) on these resources (`pods,pods/log`) in these namespaces.
    pub fn new(verbs: &str, resources: &str, namespaces: &str) -> Self {
        let split = |text: &str| text.split(',').map(|one| one.trim().to_owned()).collect();
        Self { verbs: split(verbs), resources: split(resources), namespaces: split(namespaces) }
    }

    fn allows(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        let has = |all: &[String], one: &str| all.iter().any(|name| name == one || name == "*");
        has(&self.verbs, verb) && has(&self.resources, resource) && has(&self.namespaces, namespace)
    }
}

/// What a connection's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Certificate {
    None,
    /// The common name of one of our CA.
    Known(String),
    Foreign,
}

/// The tokens and the rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Access {
    /// Whether a request without credentials is anonymous; otherwise it is the administrator's.
    pub(super) is_required: bool,
    pub(super) tokens: HashMap<String, String>,
    pub(super) rules: HashMap<String, Vec<Rule>>,
}

impl Access {
    /// The user, or 401.
    pub(super) fn user(&self, headers: &HeaderMap, certificate: &Certificate) -> Result<String, Failure> {
        if let Some(value) = headers.get(AUTHORIZATION) {
            let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
            let user = token.and_then(|token| self.tokens.get(token.trim()));
            return user.cloned().ok_or_else(Failure::unauthorized);
        }
        match certificate {
            Certificate::Known(name) => Ok(name.clone()),
            Certificate::Foreign => Err(Failure::unauthorized()),
            Certificate::None if self.is_required => Ok("system:anonymous".to_owned()),
            Certificate::None => Ok(ADMIN.to_owned()),
        }
    }

    /// 403 unless a rule allows it.
    pub(super) fn check(&self, user: &str, verb: &str, target: &Target) -> Result<(), Failure> {
        let resource = target.access_name();
        let rules = self.rules.get(user).map(Vec::as_slice).unwrap_or_default();
        if user == ADMIN || rules.iter().any(|rule| rule.allows(verb, &resource, &target.namespace)) {
            return Ok(());
        }
        let place = if target.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {}", quoted(&target.namespace))
        };
        let why = format!(
            "User {} cannot {verb} resource {} in API group {} {place}",
            quoted(user),
            quoted(&resource),
            quoted(target.resource.group)
        );
        Err(Failure::forbidden(target.resource, &target.name, &why))
    }
}
