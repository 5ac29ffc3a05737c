//! The configuration file: sections, defaults and rules.
