//! Which environment variables a client may set, and whom they are for (http-api.md §6.5).

use crate::error::{Error, Family, Kind};

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

/// The most characters of a name that are told.
const MAX_SHOWN: usize = 100;

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

/// Whether a variable is for the egress sidecar.
pub fn is_for_sidecar(name: &str) -> bool {
    name.starts_with(EGRESS_PREFIX)
}

/// Separates the variables for the sandbox from those for the egress sidecar.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) for an egress variable that clients may not set.
pub fn split(env: &[Variable]) -> Result<Split, Error> {
    let mut split = Split::default();
    for variable in env {
        if !is_for_sidecar(&variable.0) {
            split.sandbox.push(variable.clone());
        } else if EGRESS_ALLOWED.contains(&variable.0.as_str()) {
            split.egress.push(variable.clone());
        } else {
            return Err(not_allowed(&variable.0));
        }
    }
    Ok(split)
}

/// Checks a variable as the engine and every program's environment have it: `NAME=value`, ended by a NUL.
///
/// # Errors
/// A text that holds nothing of a value: of a name with `=` in it, only what is before that.
pub fn check(name: &str, value: Option<&str>) -> Result<(), String> {
    match name.split_once('=') {
        Some((LIFECYCLE, _)) => Err(reserved()),
        Some(("", _)) => Err("Environment variable names must not begin with '='.".to_owned()),
        Some((start, _)) => Err(format!("Environment variable '{}': names must not contain '='.", shown(start))),
        None if name.is_empty() => Err("Environment variable names must not be empty.".to_owned()),
        None if name.contains('\0') => {
            Err(format!("Environment variable '{}': names must not contain NUL characters.", shown(name)))
        }
        None if value.is_some_and(|value| value.contains('\0')) => {
            Err(format!("Environment variable '{}': values must not contain NUL characters.", shown(name)))
        }
        None => Ok(()),
    }
}

/// The text for a variable that only the gateway sets (http-api.md §6.2).
pub fn reserved() -> String {
    format!("Environment variable '{LIFECYCLE}' is reserved. Use the lifecycle request field instead.")
}

/// A name as it may stand in a text: not long, and without control characters.
pub fn shown(name: &str) -> String {
    let cut = name.chars().nth(MAX_SHOWN).map_or("", |_| "…");
    let start = name.chars().take(MAX_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c });
    start.chain(cut.chars()).collect()
}

fn not_allowed(key: &str) -> Error {
    let key = shown(key);
    let allowed = EGRESS_ALLOWED.map(|key| format!("'{key}'")).join(", ");
    let message = format!("Environment variable '{key}' is not allowed; permitted {EGRESS_PREFIX} keys: [{allowed}]");
    Error::new(Family::Parameter, Kind::Invalid, message)
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
    fn a_variable_is_a_name_and_a_value_that_programs_can_have() {
        for (name, value) in [("A", "1"), ("a.b-c d", ""), ("é", "x=y\n")] {
            assert_eq!(check(name, Some(value)), Ok(()), "{name}");
        }
        for (name, text) in [
            ("", "Environment variable names must not be empty."),
            ("=s3cret", "Environment variable names must not begin with '='."),
            ("TOKEN=s3cret", "Environment variable 'TOKEN': names must not contain '='."),
            ("A\0B", "Environment variable 'A\u{fffd}B': names must not contain NUL characters."),
        ] {
            assert_eq!(check(name, None).unwrap_err(), text);
        }
        let text = "Environment variable 'A': values must not contain NUL characters.";
        assert_eq!(check("A", Some("s3cret\0")).unwrap_err(), text);
        assert!(check(&format!("{}=", "x".repeat(40_000)), None).unwrap_err().len() < 200);
    }

    #[test]
    fn no_spelling_passes_the_reserved_name() {
        assert_eq!(check("OPENSANDBOX_LIFECYCLE=x", None), Err(reserved()));
        assert_eq!(check("OPENSANDBOX_LIFECYCLE=", Some("x")), Err(reserved()));
    }

    #[test]
    fn unknown_egress_variables_are_refused() {
        let error = split(&[variable("OPENSANDBOX_EGRESS_FOO")]).map(|_| ()).unwrap_err();
        assert_eq!(error.key(), (Family::Parameter, Kind::Invalid));
        assert!(error.message.starts_with(
            "Environment variable 'OPENSANDBOX_EGRESS_FOO' is not allowed; permitted OPENSANDBOX_EGRESS_ keys: \
             ['OPENSANDBOX_EGRESS_CREDENTIAL_VAULT_REQUIRE_SCOPED_MATCH', "
        ));
        assert!(error.message.ends_with("'OPENSANDBOX_EGRESS_POLICY_FILE']"));
        assert!(EGRESS_ALLOWED.is_sorted());
    }
}
