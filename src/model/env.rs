//! Which environment variables a client may set, and whom they are for (http-api.md §6.5).

use crate::runtime::{ErrorKind, RuntimeError};

/// Carries the lifecycle hooks into a sandbox; a client cannot set it.
pub const LIFECYCLE: &str = "OPENSANDBOX_LIFECYCLE";

/// The prefix of the variables for the egress sidecar.
const EGRESS_PREFIX: &str = "OPENSANDBOX_EGRESS_";

/// What a client may set under that prefix; sorted, as it is told to clients.
const EGRESS_ALLOWED: [&str; 11] = [
    "OPENSANDBOX_EGRESS_CREDENTIAL_VAULT_REQUIRE_SCOPED_MATCH",
    "OPENSANDBOX_EGRESS_CREDENTIAL_VAULT_REQUIRE_TLS",
    "OPENSANDBOX_EGRESS_CREDENTIAL_VAULT_TRUSTED_PROXY_CIDRS",
    "OPENSANDBOX_EGRESS_DENY_WEBHOOK",
    "OPENSANDBOX_EGRESS_DNS_UPSTREAM_TIMEOUT",
    "OPENSANDBOX_EGRESS_LOG_LEVEL",
    "OPENSANDBOX_EGRESS_METRICS_EXTRA_ATTRS",
    "OPENSANDBOX_EGRESS_MITMPROXY_EXTRA_PORTS",
    "OPENSANDBOX_EGRESS_MITMPROXY_SSL_INSECURE",
    "OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT",
    "OPENSANDBOX_EGRESS_POLICY_FILE",
];

/// A variable; without a value it takes away what the configuration sets.
pub type Variable = (String, Option<String>);

/// A request's variables by receiver, in the client's order. Without `Debug`, so that no log shows the values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// For the sandbox.
    pub sandbox: Vec<Variable>,
    /// For the egress sidecar, and not for the sandbox.
    pub egress: Vec<Variable>,
}

/// Separates the variables for the sandbox from those for the egress sidecar.
///
/// # Errors
/// [`ErrorKind::InvalidParameter`] for an egress variable that clients may not set.
pub fn split(env: &[Variable]) -> Result<Split, RuntimeError> {
    let mut split = Split::default();
    for variable in env {
        if !variable.0.starts_with(EGRESS_PREFIX) {
            split.sandbox.push(variable.clone());
        } else if EGRESS_ALLOWED.contains(&variable.0.as_str()) {
            split.egress.push(variable.clone());
        } else {
            return Err(not_allowed(&variable.0));
        }
    }
    Ok(split)
}

fn not_allowed(key: &str) -> RuntimeError {
    let allowed = EGRESS_ALLOWED.map(|key| format!("'{key}'")).join(", ");
    let message = format!("Environment variable '{key}' is not allowed; permitted {EGRESS_PREFIX} keys: [{allowed}]");
    RuntimeError::new(ErrorKind::InvalidParameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(key: &str) -> Variable {
        (key.to_owned(), Some("1".to_owned()))
    }

    #[test]
    fn egress_variables_go_to_the_sidecar() {
        let env = [variable("A"), variable("OPENSANDBOX_EGRESS_LOG_LEVEL"), ("B".to_owned(), None)];
        let split = split(&env).unwrap();
        assert!(split.sandbox == [variable("A"), ("B".to_owned(), None)]);
        assert!(split.egress == [variable("OPENSANDBOX_EGRESS_LOG_LEVEL")]);
    }

    #[test]
    fn unknown_egress_variables_are_refused() {
        let error = split(&[variable("OPENSANDBOX_EGRESS_FOO")]).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParameter);
        assert!(error.message.starts_with(
            "Environment variable 'OPENSANDBOX_EGRESS_FOO' is not allowed; permitted OPENSANDBOX_EGRESS_ keys: \
             ['OPENSANDBOX_EGRESS_CREDENTIAL_VAULT_REQUIRE_SCOPED_MATCH', "
        ));
        assert!(error.message.ends_with("'OPENSANDBOX_EGRESS_POLICY_FILE']"));
        assert!(EGRESS_ALLOWED.is_sorted());
    }
}
