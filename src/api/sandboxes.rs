//! `/sandboxes`: create, get, list, delete.
