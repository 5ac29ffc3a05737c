//! The command line.

use std::{convert::Infallible, path::PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};

use crate::config::Secret;

/// Serves the OpenSandbox lifecycle API and streams sandboxes' logs.
///
/// Without a command it serves, with the configuration file that `opensandbox-server` uses.
#[derive(Debug, Parser)]
#[command(name = "opensandbox-gateway", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// The configuration file [default: $SANDBOX_CONFIG_PATH, else ~/.sandbox.toml].
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve the API (what happens without a command).
    Serve,
    /// Serve on 127.0.0.1 with sandboxes as local processes: for a first try and for development.
    ///
    /// Needs no Docker, no configuration file and no key. The processes run as you, without any isolation.
    Dev(Dev),
    /// Copy the records of snapshots from a SQLite file to PostgreSQL, before store.type is switched.
    ///
    /// The file is only read; records that the database has already are skipped. All or nothing.
    MigrateSnapshots(MigrateSnapshots),
}

/// Options of `dev`.
#[derive(Debug, Clone, Copy, Args)]
pub struct Dev {
    /// The port to listen on.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
}

/// Options of `migrate-snapshots`.
#[derive(Debug, Clone, Args)]
pub struct MigrateSnapshots {
    /// The file to read [default: ~/.opensandbox/opensandbox.db].
    #[arg(long, value_name = "SQLITE_PATH")]
    pub from: Option<PathBuf>,

    /// The database to write to, such as postgresql://user:password@host/database.
    #[arg(long, value_name = "POSTGRESQL_DSN", value_parser = |dsn: &str| Ok::<_, Infallible>(Secret::new(dsn)))]
    pub to: Secret,

    /// Only count; write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

impl MigrateSnapshots {
    /// The file to read; `~` is the user's home.
    pub fn source(&self) -> PathBuf {
        let home = || std::env::home_dir().unwrap_or_default();
        match &self.from {
            None => home().join(".opensandbox/opensandbox.db"),
            Some(path) => path.strip_prefix("~").map_or_else(|_| path.clone(), |below| home().join(below)),
        }
    }
}

impl Cli {
    /// Reads the command line; ends the program when it cannot be right, or only asked for help.
    pub fn from_args() -> Self {
        let cli = Self::parse();
        if cli.config.is_some() && matches!(cli.command, Some(Command::Dev(_))) {
            let text = "dev takes no configuration file; for processes with one, set runtime.type = \"process\" in it";
            Self::command().error(ErrorKind::ArgumentConflict, text).exit();
        }
        cli
    }
}

const AFTER_HELP: &str = "\
Environment:
  SANDBOX_CONFIG_PATH          the configuration file
  OPENSANDBOX_SERVER_API_KEY   the API key, before the file's
  OPENSANDBOX_INSECURE_SERVER  YES: start without an API key
  DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH
                               where the Docker Engine is

Exit status: 0 ended by SIGTERM or SIGINT; 1 configuration or start-up; 2 usage; 3 the port or\nthe secure runtime cannot be had; 130, 143 a second signal cut the ending short.";
