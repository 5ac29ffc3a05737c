//! Who asks, and whether it may (kubernetes-api.md §11).

use std::collections::{BTreeMap, HashMap};

use http::{HeaderMap, header::AUTHORIZATION};

use super::{
    failure::{Failure, quoted},
    resource::Target,
    role::{ACCOUNT, call},
};

/// The user who may do everything.
pub const ADMIN: &str = "admin";

/// What a user may do. `*` stands for all.
#[derive(Debug, Clone)]
pub struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
}

impl Rule {
    /// These verbs (`get,list,watch`) on these resources (`pods,pods/log`) in these namespaces.
    pub fn new(verbs: &str, resources: &str, namespaces: &str) -> Self {
        let all = vec!["*".to_owned()];
        Self { verbs: split(verbs), groups: all, resources: split(resources), namespaces: split(namespaces) }
    }

    /// The same for the kinds of these groups alone (`agents.x-k8s.io`; the core's is empty).
    pub fn of_groups(self, groups: &str) -> Self {
        Self { groups: split(groups), ..self }
    }

    fn allows(&self, verb: &str, (resource, group): (&str, &str), namespace: &str) -> bool {
        let has = |all: &[String], one: &str| all.iter().any(|name| name == one || name == "*");
        has(&self.verbs, verb)
            && has(&self.groups, group)
            && has(&self.resources, resource)
            && has(&self.namespaces, namespace)
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(|one| one.trim().to_owned()).collect()
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
    /// What was asked of the server by those who have the rules of `deploy/`, as [`call`] writes it, and whether it was allowed.
    pub(super) by_gateways: BTreeMap<String, bool>,
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
    pub(super) fn check(&mut self, user: &str, verb: &str, target: &Target) -> Result<(), Failure> {
        let (resource, group) = (target.access_name(), target.resource.group);
        let rules = self.rules.get(user).map(Vec::as_slice).unwrap_or_default();
        let is_allowed = rules.iter().any(|rule| rule.allows(verb, (&resource, group), &target.namespace));
        if user.starts_with(ACCOUNT) {
            let was_allowed = self.by_gateways.entry(call(verb, &resource, group)).or_insert(true);
            *was_allowed &= is_allowed;
        }
        if user == ADMIN || is_allowed {
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
