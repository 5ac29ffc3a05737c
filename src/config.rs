//! The configuration file: sections, defaults and rules.

pub mod secret;

pub use self::secret::{Secret, SecretBytes};
