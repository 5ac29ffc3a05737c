//! `ps`: the sandboxes of a server, as a table or as JSON.

mod table;

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};
use jiff::Timestamp;
use rustix::termios::tcgetwinsize;
use tokio::runtime::Builder;

use super::{
    connect::Connector,
    listing::{Filter, Listed, check_labels, label},
    server::Server,
};
use crate::{config::env::Lookup, telemetry};

/// The server does not give the list, or could not be reached.
const REFUSED: u8 = 1;

/// The command line or the environment is wrong.
const USAGE: u8 = 2;

/// The output cannot be written.
const BROKEN: u8 = 3;

/// Options of `ps`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Ps {
    /// Only sandboxes in this state, such as Running or Paused; given more than once: in one of them.
    #[arg(long, value_name = "STATE", value_parser = NonEmptyStringValueParser::new())]
    pub state: Vec<String>,

    /// Only sandboxes with this metadata; given more than once: with all of it.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,

    /// What is written.
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Form::Table)]
    pub output: Form,

    /// Write the ids alone, one a line.
    #[arg(short, long, conflicts_with = "output")]
    pub quiet: bool,

    /// Leave out the table's first line.
    #[arg(long)]
    pub no_header: bool,

    /// The server [default: $OPEN_SANDBOX_DOMAIN, else localhost:8080].
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A line a sandbox, for a person.
    Table,
    /// An array of the objects that the server sends.
    Json,
    /// These objects, one a line.
    Ndjson,
}

impl Ps {
    /// Checks what no single option tells.
    ///
    /// # Errors
    ///
    /// A text for a person.
    pub fn check(&self) -> Result<(), String> {
        if self.no_header && (self.quiet || self.output != Form::Table) {
            return Err("--no-header is for -o table; nothing else has a header".to_owned());
        }
        check_labels(&self.label)
    }
}

/// Writes the list that the options ask for; answers the exit code.
pub fn run(options: &Ps, env: Lookup<'_>) -> u8 {
    let server = match Server::find(options.url.as_deref(), env) {
        Ok(server) => server,
        Err(text) => return fail(USAGE, &text),
    };
    let sandboxes = match list(options, &server) {
        Ok(sandboxes) => sandboxes,
        Err(text) => return fail(REFUSED, &text),
    };
    let text = match shown(options, &sandboxes) {
        Ok(text) => text,
        Err(error) => return fail(BROKEN, &format!("the list cannot be written: {error}")),
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Who reads no further has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(BROKEN, &format!("the output cannot be written: {error}"))
        }
        _ => 0,
    }
}

fn list(options: &Ps, server: &Server) -> Result<Vec<Listed>, String> {
    let connector = Connector::new(server)?;
    let tasks = Builder::new_current_thread().enable_all().build();
    let tasks = tasks.map_err(|error| format!("the program cannot be started: {error}"))?;
    let filter = Filter { states: options.state.clone(), labels: options.label.clone() };
    tasks.block_on(filter.list(&connector, server))
}

fn shown(options: &Ps, sandboxes: &[Listed]) -> Result<String, serde_json::Error> {
    if options.quiet {
        return Ok(sandboxes.iter().map(|sandbox| telemetry::one_line(&sandbox.id) + "\n").collect());
    }
    let lines = || sandboxes.iter().map(|sandbox| serde_json::to_string(&sandbox.object));
    Ok(match options.output {
        Form::Ndjson => lines().map(|line| line.map(|line| line + "\n")).collect::<Result<_, _>>()?,
        Form::Json => {
            let lines: Vec<_> = lines().collect::<Result<_, _>>()?;
            let (start, end) = if lines.is_empty() { ("", "") } else { ("\n", "\n") };
            format!("[{start}{}{end}]\n", lines.join(",\n"))
        }
        Form::Table => {
            let stdout = io::stdout();
            // A file or a pipe has no width: nothing is cut there.
            let size = stdout.is_terminal().then(|| tcgetwinsize(&stdout)).and_then(Result::ok);
            let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
            table::of(sandboxes, Timestamp::now(), !options.no_header, width)
        }
    })
}

fn fail(code: u8, text: &str) -> u8 {
    eprintln!("opensandbox-gateway: {}", telemetry::one_line(text));
    code
}

const AFTER_HELP: &str = "\
Examples:
  opensandbox-gateway ps --state Running -l team=infra
  opensandbox-gateway ps -q -l name=web | xargs -r opensandbox-gateway logs -f
  opensandbox-gateway ps -o json | jq -r '.[] | select(.status.state == \"Failed\") | .id'

The newest sandbox comes first. AGE is the time since its creation, EXPIRES the time until it is deleted by itself.
On a terminal, lines are cut to its width. What a sandbox's creator wrote is escaped where a terminal would obey it.

Environment:
  OPEN_SANDBOX_DOMAIN          the server: host, host:port or a URL, without /v1
  OPEN_SANDBOX_PROTOCOL        http or https, for a server without either [default: http]
  OPEN_SANDBOX_API_KEY         the API key
  SSL_CERT_FILE                the certificates to trust, instead of the system's

Exit status: 0 the list was written, also if it is empty; 1 refused, or the server cannot be reached or understood;
2 usage; 3 the output cannot be written.";
