//! What a workload says of the pods that it makes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lenient;

/// The name of the container that is the sandbox.
pub(in crate::runtime::kubernetes) const MAIN_CONTAINER: &str = "sandbox";

/// A pod template.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Template {
    #[serde(default, deserialize_with = "lenient::read")]
    pub(super) spec: WorkloadSpec,
}

/// The pods of a workload.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct WorkloadSpec {
    #[serde(default, deserialize_with = "lenient::read")]
    pub containers: Vec<TemplateContainer>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "lenient::read")]
    affinity: Affinity,
}

/// A container of a workload.
#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct TemplateContainer {
    #[serde(default, deserialize_with = "lenient::read")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub image: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub command: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Affinity {
    #[serde(default, deserialize_with = "lenient::read")]
    node_affinity: NodeAffinity,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeAffinity {
    #[serde(default, deserialize_with = "lenient::read")]
    required_during_scheduling_ignored_during_execution: NodeSelector,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeSelector {
    #[serde(default, deserialize_with = "lenient::read")]
    node_selector_terms: Vec<Term>,
}

/// One of the alternatives of a node affinity that is required.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct Term {
    #[serde(default, deserialize_with = "lenient::read")]
    pub match_expressions: Vec<Expression>,
}

/// A rule for a label of a node.
#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct Expression {
    #[serde(default, deserialize_with = "lenient::read")]
    pub key: String,
    #[serde(default, deserialize_with = "lenient::read")]
    pub operator: String,
    #[serde(default, deserialize_with = "lenient::read")]
    pub values: Vec<String>,
}

lenient::from_object!(
    Template,
    WorkloadSpec,
    TemplateContainer,
    Affinity,
    NodeAffinity,
    NodeSelector,
    Term,
    Expression
);

impl WorkloadSpec {
    /// The container that is the sandbox: the one of that name, else the first.
    pub(in crate::runtime::kubernetes) fn main(&self) -> Option<&TemplateContainer> {
        let named = self.containers.iter().find(|container| container.name.as_deref() == Some(MAIN_CONTAINER));
        named.or_else(|| self.containers.first())
    }

    /// The alternatives of the node affinity that is required.
    pub(in crate::runtime::kubernetes) fn affinity_terms(&self) -> &[Term] {
        &self.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    }
}
