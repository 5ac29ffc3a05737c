//! What `logs` can be told on its command line.

use clap::{Args, ValueEnum, error::ErrorKind};

use crate::cli::listing::{check_labels, label};

/// Most sandboxes that are read at once: as many as a stream of the server's has at most (log-api.md §6).
pub(super) const MAX_SANDBOXES: usize = 200;

/// Options of `logs`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Logs {
    /// Go on until the sandbox ends: through cuts of the connection, restarts of the server and of the sandbox.
    #[arg(short, long)]
    pub follow: bool,

    /// Only the last N lines of those that match; `all` is the default, 0 means only what comes from now on.
    #[arg(short = 'n', long, value_name = "N", value_parser = tail, allow_negative_numbers = true)]
    pub tail: Option<Tail>,

    /// Only what was printed from T on: 10m, 1h30m, 2026-01-31T08:00:00Z, or Unix seconds.
    #[arg(long, value_name = "T", value_parser = time)]
    pub since: Option<String>,

    /// Only what was printed up to T, which has the same forms.
    #[arg(long, value_name = "T", value_parser = time)]
    pub until: Option<String>,

    /// Put before each line the time at which it was printed; with -o text.
    #[arg(short, long)]
    pub timestamps: bool,

    /// Only lines that match a regular expression; given more than once: all of them.
    #[arg(long, value_name = "RE")]
    pub grep: Vec<String>,

    /// Only lines that contain a text; given more than once: all of them.
    #[arg(long, value_name = "TEXT")]
    pub search: Vec<String>,

    /// What is written.
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Form::Text)]
    pub output: Form,

    /// With -f: end with the exit code of the sandbox; with 3 if the log ends without one.
    #[arg(long)]
    pub exit_code: bool,

    /// The server [default: $OPEN_SANDBOX_DOMAIN, else localhost:8080].
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Every sandbox with this metadata; given more than once: with all of it. With -f also those that join later.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = label, conflicts_with = "ids")]
    pub label: Vec<(String, String)>,

    /// Whether to put a sandbox's name, or the beginning of its id, before each of its lines; auto: if there are several.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    pub prefix: When,

    /// Whether to colour what stands before lines; auto: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    pub color: When,

    /// The sandboxes' ids, or their names: an argument that is no id stands for the one whose metadata has name=ID.
    #[arg(value_name = "ID", value_parser = id, required_unless_present = "label")]
    pub ids: Vec<String>,
}

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Where it helps.
    Auto,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// The sandbox's stdout to stdout, its stderr to stderr.
    Text,
    /// The records and events as the server sends them, a JSON object a line, without pings; of several sandboxes with the
    /// member `sandbox`.
    #[value(alias = "ndjson")]
    Json,
    /// The bytes of both streams to stdout.
    Raw,
}

/// How much of the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// All of it.
    All,
    /// So many lines.
    Lines(u64),
}

impl Logs {
    /// Checks what no single option tells.
    ///
    /// # Errors
    ///
    /// A usage error.
    pub fn check(&self) -> Result<(), (ErrorKind, String)> {
        check_labels(&self.label).map_err(|text| (ErrorKind::ArgumentConflict, text))?;
        self.check_forms().map_err(|(kind, text)| (kind, text.to_owned()))?;
        if self.ids.len() > MAX_SANDBOXES {
            let text = format!("at most {MAX_SANDBOXES} sandboxes can be read at once");
            return Err((ErrorKind::TooManyValues, text));
        }
        Ok(())
    }

    fn check_forms(&self) -> Result<(), (ErrorKind, &'static str)> {
        if self.timestamps && self.output != Form::Text {
            return Err((ErrorKind::ArgumentConflict, "--timestamps is for -o text; -o json has the times already"));
        }
        if self.exit_code && !self.follow {
            let text = "--exit-code needs --follow: only a log that is followed ends with the sandbox";
            return Err((ErrorKind::MissingRequiredArgument, text));
        }
        if self.output == Form::Json && self.prefix == When::Always {
            let text = "--prefix is for -o text and -o raw; of several sandboxes, records have the member sandbox";
            return Err((ErrorKind::ArgumentConflict, text));
        }
        if self.exit_code && !self.label.is_empty() {
            let text = "--exit-code needs ids: with -f, the sandboxes of a -l never end, since others may join";
            return Err((ErrorKind::ArgumentConflict, text));
        }
        Ok(())
    }
}

/// A number of lines as docker (`all`) and kubectl (`-1`) take it.
fn tail(text: &str) -> Result<Tail, &'static str> {
    match text {
        "all" | "-1" => Ok(Tail::All),
        _ => text.parse().map(Tail::Lines).map_err(|_| "a number of lines is 0, 1, 2, … or all"),
    }
}

/// The server knows the forms; an empty one would be no filter at all.
fn time(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("a time is 10m, 2026-01-31T08:00:00Z or 1769846400") } else { Ok(text.to_owned()) }
}

fn id(text: &str) -> Result<String, &'static str> {
    // A URL's own rules would take the two out of the path.
    if matches!(text, "" | "." | "..") { Err("this is no sandbox's id") } else { Ok(text.to_owned()) }
}

const AFTER_HELP: &str = "\
Examples:
  opensandbox-gateway logs -f -n 100 e345f367-b51b-47e4-86c2-4f4fdd8e7a17
  opensandbox-gateway logs --since 10m --grep 'ERROR|panic' -o json ID | jq -rj 'select(.log).log'
  opensandbox-gateway logs -f web worker                  # by their metadata `name`
  opensandbox-gateway logs -f -n 0 -l team=infra -l env=prod

When the connection breaks, it is made anew and the log goes on behind the last line that was written: nothing is
lost or written twice. What the server itself no longer has is told as a gap. Notes go to the standard error; with
-o json, gaps, restarts and the end are records on the standard output.

Several sandboxes are read beside each other, and each goes on by itself when another ends. Lines are not mixed: one
without a newline gets one. -l never ends with -f, since other sandboxes may join.

Environment:
  OPEN_SANDBOX_DOMAIN          the server: host, host:port or a URL, without /v1
  OPEN_SANDBOX_PROTOCOL        http or https, for a server without either [default: http]
  OPEN_SANDBOX_API_KEY         the API key
  SSL_CERT_FILE                the certificates to trust, instead of the system's

Exit status, of several sandboxes the largest: 0 the log's end, or nobody reads the output any more; 1 refused, or the server cannot be reached at
first; 2 usage; 3 broken off and not resumable (without -f: not within a minute); 130, 143 ended by Ctrl-C, SIGTERM.";

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        logs: Logs,
    }

    /// What these arguments mean.
    pub(in super::super) fn read(args: &[&str]) -> Result<Logs, String> {
        let args = ["x"].iter().chain(args);
        Program::try_parse_from(args).map(|program| program.logs).map_err(|error| error.to_string())
    }

    #[test]
    fn letters_are_those_of_docker_and_kubectl() {
        let logs = read(&["-f", "-n", "5", "-t", "--since=1h", "--until", "10m", "-o", "text", "id"]).unwrap();
        assert!(logs.follow && logs.timestamps && !logs.exit_code);
        assert_eq!((logs.tail, logs.output), (Some(Tail::Lines(5)), Form::Text));
        assert_eq!(
            (logs.since.as_deref(), logs.until.as_deref(), logs.ids[0].as_str()),
            (Some("1h"), Some("10m"), "id")
        );
        let logs = read(&["--grep", "a", "--grep=-b", "--search", "c", "-ojson", "--exit-code", "--", "-id"]).unwrap();
        assert_eq!((logs.grep.join(" "), logs.search.join(" ")), ("a -b".to_owned(), "c".to_owned()));
        assert_eq!((logs.output, logs.ids[0].as_str()), (Form::Json, "-id"));
    }

    #[test]
    fn a_number_of_lines_is_read_as_there() {
        for (text, expected) in [("all", Tail::All), ("-1", Tail::All), ("0", Tail::Lines(0)), ("12", Tail::Lines(12))]
        {
            assert_eq!(read(&["--tail", text, "id"]).unwrap().tail, Some(expected));
        }
        for text in ["", "-2", "x", "1.5", "18446744073709551616"] {
            let error = read(&[&format!("--tail={text}"), "id"]).unwrap_err();
            assert!(error.contains("a number of lines is 0, 1, 2, … or all"), "{error}");
        }
    }

    #[test]
    fn what_means_nothing_is_a_usage_error() {
        for args in [
            &["-t", "-o", "json", "id"][..],
            &["-t", "-oraw", "id"],
            &["--exit-code", "id"],
            &["--prefix", "always", "-ojson", "id"],
            &["-f", "--exit-code", "-l", "a=b"],
            &["-l", "a=b", "-l", "a=c"],
            &["id"; MAX_SANDBOXES + 1],
        ] {
            assert!(read(args).unwrap().check().is_err(), "{args:?}");
        }
        assert!(read(&["-l", "a=b", "id"]).is_err());
        assert!(read(&["id"; MAX_SANDBOXES]).unwrap().check().is_ok());
        for args in [&[][..], &[""], &["."], &[".."], &["--since=", "id"], &["-o", "x", "id"], &["-l", "a", "-f"]] {
            assert!(read(args).is_err(), "{args:?}");
        }
    }
}
