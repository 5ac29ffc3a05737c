//! The command line.

mod connect;
mod exchange;
mod listing;
pub mod logs;
pub mod packaging;
pub mod ps;
mod refusal;
mod server;

use std::{
    convert::Infallible,
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

use crate::{api::meta::API_VERSION, init_config, secret::Secret};

/// The name of the program that this one stands in for. Called by it, help and usage show it.
const PREDECESSOR: &str = "opensandbox-server";

/// What `-V` shows: the program's own version, and that of the server whose API it has, which `/version` answers with.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (API of {PREDECESSOR} {API_VERSION})", env!("CARGO_PKG_VERSION")));

/// What `--version` shows: which build it is besides.
static BUILD: LazyLock<String> =
    LazyLock::new(|| format!("{}\nrevision {}\n{}", *VERSION, env!("GATEWAY_REVISION"), env!("GATEWAY_RUSTC")));

/// Serves the OpenSandbox lifecycle API and streams sandboxes' logs.
///
/// Without a command it serves, with the configuration file that `opensandbox-server` uses.
#[derive(Debug, Parser)]
#[command(name = "opensandbox-gateway", version = VERSION.as_str(), long_version = BUILD.as_str(), after_help = AFTER_HELP)]
pub struct Cli {
    /// The configuration file [default: $SANDBOX_CONFIG_PATH, else ~/.sandbox.toml].
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// Accepted from the existing server's command line, without effect.
    #[arg(long, hide = true)]
    pub reload: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const NO_CONFIG: &str = "takes no configuration file; --url or OPEN_SANDBOX_DOMAIN names the server";

/// What the program can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve the API (what happens without a command).
    Serve,
    /// Serve on 127.0.0.1 with sandboxes as local processes: for a first try and for development.
    ///
    /// Needs no Docker and no configuration file. The processes run as you, without any isolation, so a request needs a key:
    /// the one of OPENSANDBOX_SERVER_API_KEY if it is set, else a new one, which is printed with what to try.
    Dev(Dev),
    /// Copy the records of snapshots from a SQLite file to PostgreSQL, before store.type is switched.
    ///
    /// The file is only read; records that the database has already are skipped. All or nothing.
    MigrateSnapshots(MigrateSnapshots),
    /// Write a configuration file to start from.
    ///
    /// Without an example it has every key, with a comment and its default.
    InitConfig(init_config::Options),
    /// Write a sandbox's log, and go on behind the last line when the connection breaks.
    ///
    /// Asks a server over HTTP; needs no configuration file.
    Logs(logs::Logs),
    /// List sandboxes.
    ///
    /// Asks a server over HTTP; needs no configuration file.
    Ps(ps::Ps),
    /// Write a shell's completions of this command line.
    Completions(packaging::Completions),
    /// Write the manual pages.
    Man(packaging::Manual),
}

/// Options of `dev`.
#[derive(Debug, Clone, Copy, Args)]
pub struct Dev {
    /// The port to listen on.
    #[arg(long, default_value_t = 8080, value_parser = port, allow_negative_numbers = true)]
    pub port: u16,

    /// Ask for no key: any user of this machine, and any page of its own web servers, may then run programs as you.
    #[arg(long)]
    pub no_key: bool,
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
        let matches = Self::command_named(env::args_os().next().as_deref()).get_matches();
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if cli.config.is_some() && matches!(cli.command, Some(Command::Dev(_))) {
            let text = "dev takes no configuration file; for processes with one, set runtime.type = \"process\" in it";
            Self::command().error(ErrorKind::ArgumentConflict, text).exit();
        }
        let checked = match &cli.command {
            Some(Command::Logs(logs)) => Some(("logs", logs.check())),
            Some(Command::Ps(ps)) => Some(("ps", ps.check().map_err(|text| (ErrorKind::ArgumentConflict, text)))),
            _ => None,
        };
        if let Some((name, checked)) = checked {
            let configured = cli.config.is_some().then(|| (ErrorKind::ArgumentConflict, format!("{name} {NO_CONFIG}")));
            if let Some((kind, text)) = configured.or(checked.err()) {
                Self::command().error(kind, text).exit();
            }
        }
        cli
    }

    /// The command under the name by which the program was called, if that is the existing server's.
    fn command_named(called: Option<&OsStr>) -> clap::Command {
        let is_predecessor = called.and_then(|path| Path::new(path).file_name()) == Some(OsStr::new(PREDECESSOR));
        let command = Self::command();
        if is_predecessor { command.name(PREDECESSOR).bin_name(PREDECESSOR) } else { command }
    }
}

/// A port that can be listened on and told.
fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|port| *port != 0).ok_or("a port is a number from 1 to 65535")
}

const AFTER_HELP: &str = "\
Environment:
  SANDBOX_CONFIG_PATH          the configuration file
  OPENSANDBOX_SERVER_API_KEY   the API key, before the file's
  OPENSANDBOX_INSECURE_SERVER  YES: start without an API key
  FORWARDED_ALLOW_IPS          proxies that may name their client: addresses, networks, or *
                               [default: 127.0.0.1,::1]
  DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH
                               where the Docker Engine is
  DOCKER_CONFIG                the folder of Docker's config.json, with logins and proxies
                               [default: ~/.docker]

Exit status: 0 ended by SIGTERM or SIGINT; 1 configuration or start-up; 2 usage; 3 the port or\nthe secure runtime cannot be had; 130, 143 a second signal cut the ending short.";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Cli {
        let matches = Cli::command_named(args.first().map(OsStr::new)).try_get_matches_from(args).unwrap();
        Cli::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn the_existing_servers_command_lines_are_understood() {
        let cli = read(&["opensandbox-server", "--config", "a.toml", "--reload"]);
        assert_eq!((cli.config.as_deref(), cli.reload), (Some(Path::new("a.toml")), true));
        let cli = read(&["x", "--config", "a", "init-config", "b.toml", "--example", "k8s-zh", "--force"]);
        let Some(Command::InitConfig(options)) = cli.command else { panic!("{cli:?}") };
        assert_eq!((options.path.as_path(), options.force), (Path::new("b.toml"), true));
        let Some(Command::InitConfig(options)) = read(&["x", "init-config"]).command else { panic!() };
        assert_eq!(
            (options.path.as_path(), options.example, options.force),
            (Path::new("~/.sandbox.toml"), None, false)
        );
    }

    #[test]
    fn help_has_the_name_that_the_program_was_called_by() {
        for (called, name) in [
            ("/usr/bin/opensandbox-server", "opensandbox-server"),
            ("opensandbox-gateway", "opensandbox-gateway"),
            ("./other", "opensandbox-gateway"),
        ] {
            let help = Cli::command_named(Some(OsStr::new(called))).render_help().to_string();
            assert!(help.contains(&format!("Usage: {name} ")), "{help}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_told_what_one_is() {
        for port in ["abc", "", "0", "65536", "-1", "80.5", "８０"] {
            for args in [&["x", "dev", &format!("--port={port}")][..], &["x", "dev", "--port", port]] {
                let error = Cli::command().try_get_matches_from(args).unwrap_err();
                assert_eq!(error.exit_code(), 2);
                assert!(error.to_string().contains("a port is a number from 1 to 65535"), "{error}");
            }
        }
    }

    #[test]
    fn an_unknown_example_is_a_usage_error() {
        let error = Cli::command().try_get_matches_from(["x", "init-config", "--example", "x"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("docker, docker-zh, k8s, k8s-zh"), "{error}");
    }
}
