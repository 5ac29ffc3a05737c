//! `[log]`: the server's own log.

use std::path::PathBuf;

use tracing::Level;

use super::section::Section;

/// `[log]`: what the server says of itself, and where.
#[derive(Debug, Clone)]
pub struct Log {
    /// The least severe level that is written. Default `INFO`. The Python
    /// names are understood, in any case: CRITICAL and FATAL are ERROR here,
    /// NOTSET is TRACE.
    pub level: Level,
    /// How a line looks. Default `text`. Not a key of the Python server.
    pub format: LogFormat,
    /// The files written besides the standard output (`file_enabled`). Default
    /// none.
    pub file: Option<LogFile>,
    /// `access_health_checks`: whether `/health` and `/ready` that went well
    /// have lines in the access log too. Default true. Not a key of the Python
    /// server.
    pub access_health_checks: bool,
}

/// How a line of the server's log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: `format = "text"`.
    Text,
    /// For machines, one object a line: `format = "json"`.
    Json,
}

/// The files of the server's log.
#[derive(Debug, Clone)]
pub struct LogFile {
    /// `file_path`, everything but accesses. Default
    /// `~/logs/opensandbox/server.log`.
    pub path: PathBuf,
    /// `access_file_path`, one line a request. Default
    /// `~/logs/opensandbox/access.log`.
    pub access_path: PathBuf,
    /// `file_max_bytes`, the size in bytes at which a file is rotated; at
    /// least 1. Default 104857600 (100 MiB).
    pub max_bytes: u64,
    /// `file_backup_count`, how many rotated files are kept. Default 5.
    pub backup_count: u32,
}

impl Log {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let level = read_level(section);
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format = section.choice("format", LogFormat::Text, &formats);
        let enabled = section.boolean("file_enabled", false);
        let file = LogFile::read(section);
        let access_health_checks = section.boolean("access_health_checks", true);
        Self { level, format, file: enabled.then_some(file), access_health_checks }
    }
}

impl LogFile {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            path: section.path_or("file_path", "logs/opensandbox/server.log"),
            access_path: section.path_or("access_file_path", "logs/opensandbox/access.log"),
            max_bytes: section.integer("file_max_bytes", 104_857_600, 1..=i64::MAX),
            backup_count: section.integer("file_backup_count", 5, 0..=i64::from(u32::MAX)),
        }
    }
}

fn read_level(section: &mut Section<'_>) -> Level {
    let name = section.text("level").unwrap_or_else(|| "INFO".to_owned());
    match name.to_ascii_uppercase().as_str() {
        "CRITICAL" | "FATAL" | "ERROR" => Level::ERROR,
        "WARNING" | "WARN" => Level::WARN,
        "INFO" => Level::INFO,
        "DEBUG" => Level::DEBUG,
        "TRACE" | "NOTSET" => Level::TRACE,
        _ => {
            section.fail("level", "must be one of CRITICAL, ERROR, WARNING, INFO, DEBUG, TRACE");
            Level::INFO
        }
    }
}
