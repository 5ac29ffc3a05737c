//! The one table from error kind to status, code and message.
