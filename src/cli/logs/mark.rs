//! What tells the lines of several sandboxes apart.

use std::{
    collections::HashMap,
    io::{self, IsTerminal},
};

use unicode_width::UnicodeWidthStr;

use super::{
    options::{Form, Logs, When},
    printer::Mark,
};
use crate::{config::env::Lookup, telemetry};

/// The colours of prefixes, as SGR parameters: those that can be read on a dark and on a light background.
const COLOURS: [&str; 10] = ["36", "33", "32", "35", "34", "96", "93", "92", "95", "94"];

/// Longest label, in columns of a terminal.
const MAX_LABEL: usize = 40;

/// How much of an id is enough for a person, in characters.
const SHORT_ID: usize = 8;

/// Gives each sandbox a label that no other one has at the same time.
pub(super) struct Marks {
    has_prefix: bool,
    is_coloured: [bool; 2],
    is_json: bool,
    /// Labels, and the sandboxes that have them.
    used: HashMap<String, String>,
    given: usize,
}

impl Marks {
    /// Looks where the outputs lead.
    pub(super) fn new(options: &Logs, env: Lookup<'_>) -> Self {
        let of_environment = |name| env(name).filter(|text| !text.is_empty());
        // https://no-color.org: any value but an empty one.
        let wanted = of_environment("NO_COLOR").is_none() && of_environment("TERM").as_deref() != Some("dumb");
        let coloured = |is_terminal| match options.color {
            When::Always => true,
            When::Never => false,
            When::Auto => wanted && is_terminal,
        };
        let stdout = coloured(io::stdout().is_terminal());
        // Raw bytes all go to the standard output.
        let stderr = if options.output == Form::Raw { stdout } else { coloured(io::stderr().is_terminal()) };
        Self {
            has_prefix: options.prefix != When::Never && options.output != Form::Json,
            is_coloured: [stdout, stderr],
            is_json: options.output == Form::Json,
            used: HashMap::new(),
            given: 0,
        }
    }

    /// A mark for a sandbox that is shown as `name`, or by its id where it has none.
    pub(super) fn give(&mut self, id: &str, name: Option<&str>) -> Mark {
        let short: String = id.chars().take(SHORT_ID).collect();
        let named = name.map(|name| [shown(name), shown(&format!("{name}/{short}"))]);
        let candidates = named.into_iter().flatten().chain([shown(&short), shown(id)]);
        // The whole id may be too long to be told from another one.
        let numbered = (2..).map(|number| format!("{} {number}", shown(&short)));
        let label = candidates.chain(numbered).find(|label| !self.used.contains_key(label)).unwrap_or_default();
        self.used.insert(label.clone(), id.to_owned());
        let colour = COLOURS[self.given % COLOURS.len()];
        self.given += 1;
        let prefix = self.is_coloured.map(|is_coloured| {
            let prefix = match (self.has_prefix, is_coloured) {
                (false, _) => String::new(),
                (true, false) => format!("[{label}] "),
                (true, true) => format!("\u{1b}[{colour}m[{label}]\u{1b}[0m "),
            };
            prefix.into_bytes()
        });
        let mut mark = Mark { label, prefix, member: Vec::new() };
        if self.is_json {
            mark.name_sandbox(id);
        }
        mark
    }

    /// Takes a sandbox's label back.
    pub(super) fn take_back(&mut self, id: &str) {
        self.used.retain(|_, of| of != id);
    }
}

impl Mark {
    /// Records are of this sandbox.
    pub(super) fn name_sandbox(&mut self, id: &str) {
        self.member = format!("\"sandbox\":{},", serde_json::Value::from(id)).into_bytes();
    }
}

/// Text that does nothing to a terminal, and is short.
fn shown(text: &str) -> String {
    let mut shown = telemetry::one_line(text);
    if shown.width() > MAX_LABEL {
        while shown.width() >= MAX_LABEL {
            shown.pop();
        }
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{super::options::tests::read, *};

    fn marks(args: &[&str], env: Lookup<'_>) -> Marks {
        Marks::new(&read(&[args, &["a", "b"]].concat()).unwrap(), env)
    }

    #[test]
    fn no_two_sandboxes_have_a_label() {
        let mut marks = marks(&[], &|_| None);
        let labels = [
            ("e345f367-1", Some("web")),
            ("e345f367-2", Some("web")),
            ("e345f367-3", Some("web")),
            ("e345f367-4", None),
            ("e345f367-5", None),
        ]
        .map(|(id, name)| marks.give(id, name).label);
        assert_eq!(labels, ["web", "web/e345f367", "e345f367", "e345f367-4", "e345f367-5"]);
        let long = "x".repeat(1000);
        let labels = [1, 2, 3, 4].map(|number| marks.give(&format!("{long}{number}"), Some(&long)).label);
        assert!(labels.iter().all(|label| label.width() <= MAX_LABEL), "{labels:?}");
        assert_eq!(labels.iter().collect::<std::collections::HashSet<_>>().len(), 4, "{labels:?}");
        marks.take_back("e345f367-1");
        assert_eq!(marks.give("z", Some("web")).label, "web");
    }

    #[test]
    fn a_label_does_nothing_to_the_terminal() {
        let mark = marks(&[], &|_| None).give("i", Some("a\u{1b}[2J\n]\u{202e}"));
        assert_eq!(mark.prefix[0], b"[a\\u{1b}[2J\\n]\\u{202e}] ");
    }

    #[test]
    fn colours_are_for_terminals() {
        // The tests' outputs may be one.
        let none = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        let prefix = |args: &[&str]| String::from_utf8(marks(args, &none).give("i", None).prefix[0].clone()).unwrap();
        assert_eq!(prefix(&[]), "[i] ");
        assert_eq!(prefix(&["--color", "never"]), "[i] ");
        assert_eq!(prefix(&["--color", "always"]), "\u{1b}[36m[i]\u{1b}[0m ");
        assert_eq!(prefix(&["--color", "always", "--prefix", "never"]), "");
    }

    #[test]
    fn a_record_has_its_sandbox() {
        let mut mark = marks(&["-ojson"], &|_| None).give("i\"", None);
        assert_eq!(mark.member, br#""sandbox":"i\"","#);
        mark.name_sandbox("j");
        assert_eq!((mark.member.as_slice(), mark.prefix[1].as_slice()), (&br#""sandbox":"j","#[..], &b""[..]));
    }
}
