//! What the programs of a sandbox find: its directories and its variables.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use crate::model::env::Variable;

/// The search path when the gateway has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names the file of variables that are added while the sandbox lives (execd's description, "envs").
pub const ENVS: &str = "EXECD_ENVS";

/// A sandbox's environment. Without a `Debug` form: it may hold secrets.
#[derive(Clone)]
pub struct Environment {
    /// The sandbox's id.
    pub id: String,
    /// Its working and home directory.
    pub work: PathBuf,
    /// Its directory for temporary files.
    pub temporary: PathBuf,
    /// Where [`ENVS`] is, unless the request says otherwise.
    pub envs: PathBuf,
    /// The request's variables; without a value: take it away.
    pub variables: Vec<Variable>,
}

/// A program's variables.
pub type Variables = BTreeMap<OsString, OsString>;

impl Environment {
    /// All variables: a clean environment, the request's over it, and the id, which always wins (docker-runtime.md §3.2).
    pub fn variables(&self) -> Variables {
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let clean: [(&str, &OsStr); 5] = [
            ("PATH", &path),
            ("LANG", OsStr::new("C.UTF-8")),
            ("HOME", self.work.as_os_str()),
            ("TMPDIR", self.temporary.as_os_str()),
            (ENVS, self.envs.as_os_str()),
        ];
        let mut all: Variables = clean.map(|(name, value)| (name.into(), value.to_owned())).into();
        for (name, value) in &self.variables {
            match value {
                Some(value) => all.insert(name.into(), value.into()),
                None => all.remove(OsStr::new(name)),
            };
        }
        all.insert("OPENSANDBOX_ID".into(), self.id.clone().into());
        all
    }
}
