//! Redacts the engine's error texts: what a request or the configuration sent to the engine must not be quoted back.
//!
//! An engine quotes what it refuses: a variable with its value, a label, a command's words. Such a text goes to the client
//! and to the log, so every value that the gateway sent is replaced there, as it is and as Go or JSON escape it. A value
//! that the engine cut short is known by its beginning.

use bollard::{errors::Error as EngineError, models::ContainerCreateBody};

use crate::model::labels::RESERVED_PREFIX;

use super::{labels, text};

/// The replacement for a value.
const MASK: &str = "***";

/// The variable with the sandbox's id.
const ID: &str = "OPENSANDBOX_ID";

/// Values of fewer bytes are replaced only where they stand alone: each would be found in half of all texts.
const SHORT: usize = 6;

/// So many bytes of a value's beginning tell that the engine quoted it and cut it short.
const BEGINNING: usize = 12;

/// The most bytes of an engine's text that are looked through. What is behind them is cut off.
const MOST: usize = 16 * 1024;

/// Values that must not be told. Without a `Debug` form, so that no log shows them.
#[derive(Clone, Default)]
pub(in crate::runtime::docker) struct Mask {
    /// The longest first, so that a value that holds another goes as a whole.
    values: Vec<String>,
    /// Variables by their names: what an engine writes after `NAME=` is a value, however it is written.
    names: Vec<String>,
}

impl Mask {
    /// What a container's create request holds: variables, labels (but for the gateway's own, tokens excepted), the
    /// command, options of the log driver.
    pub(super) fn of(body: &ContainerCreateBody) -> Self {
        let labels = body.labels.iter().flatten();
        let labels =
            labels.filter(|(key, _)| key.as_str() == labels::EGRESS_TOKEN || !key.starts_with(RESERVED_PREFIX));
        let own = [body.env.as_deref().unwrap_or_default(), body.cmd.as_deref().unwrap_or_default()];
        // Tokens of services that logs are sent to.
        let log = body.host_config.as_ref().and_then(|host| host.log_config.as_ref()?.config.as_ref());
        let log = log.into_iter().flat_map(std::collections::HashMap::values);
        Self::new(own[0], labels.map(|(_, value)| value).chain(own[1]).chain(log))
    }

    /// Variables as `NAME=value`, and values.
    pub(in crate::runtime::docker) fn new<'a>(env: &'a [String], values: impl IntoIterator<Item = &'a String>) -> Self {
        let pairs = || env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
        // A sandbox's id is no secret, and identifies the error's sandbox.
        let pairs = || pairs().filter(|(name, _)| *name != ID);
        let mut mask = Self { values: Vec::new(), names: Vec::new() };
        values.into_iter().map(String::as_str).chain(pairs().map(|(_, value)| value)).for_each(|value| mask.add(value));
        mask.names = pairs().map(|(name, _)| format!("{name}=")).filter(|name| name.len() > 3).collect();
        mask.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        mask.values.dedup();
        mask
    }

    fn add(&mut self, value: &str) {
        let once = escaped(value);
        let twice = escaped(&once);
        let lines = value.lines().filter(|line| value.len() > line.len() && line.len() >= SHORT);
        let forms = [value, &once, &twice, &quoted(value), value.trim()].map(str::to_owned);
        self.values.extend(forms.into_iter().chain(lines.map(str::to_owned)).filter(|form| !form.is_empty()));
    }

    /// `text` without the values.
    pub(in crate::runtime::docker) fn apply(&self, text: &str) -> String {
        let mut text = text[..text.floor_char_boundary(MOST)].to_owned();
        // Values before names: after a name only the first word of a value that has several would go.
        for value in &self.values {
            text = without(&text, value);
        }
        for name in &self.names {
            text = without_assigned(&text, name);
        }
        text
    }

    /// The same of what the engine said in an error.
    pub(in crate::runtime::docker) fn error(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::DockerResponseServerError { status_code, message } => {
                EngineError::DockerResponseServerError { status_code, message: self.apply(&message) }
            }
            EngineError::DockerStreamError { error } => EngineError::DockerStreamError { error: self.apply(&error) },
            EngineError::RequestTimeoutError => EngineError::RequestTimeoutError,
            other => match self.apply(&text(&other)) {
                masked if masked == text(&other) => other,
                masked => std::io::Error::other(masked).into(),
            },
        }
    }
}

/// A reference of an image without what stands before its host, where some write a login. No registry takes one there, so
/// it is in no reference that works.
pub(in crate::runtime::docker) fn reference(text: &str) -> String {
    let logged_in = login(text);
    if logged_in.is_empty() { text.to_owned() } else { format!("{MASK}{}", &text[logged_in.len()..]) }
}

/// The login in a reference: all before the last `@` but for that of a digest.
pub(in crate::runtime::docker) fn login(reference: &str) -> &str {
    let before = |text: &str| text.rfind('@');
    let Some(last) = before(reference) else { return "" };
    let end = if is_digest(&reference[last + 1..]) { before(&reference[..last]) } else { Some(last) };
    end.map_or("", |end| &reference[..end])
}

/// Whether a text is `algorithm:hex`.
fn is_digest(text: &str) -> bool {
    let is_algorithm = |name: &str| name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains(['/', '@']);
    let is_hex = |hash: &str| hash.len() >= 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_once(':').is_some_and(|(algorithm, hash)| is_algorithm(algorithm) && is_hex(hash))
}

/// As JSON writes it within quotes.
fn escaped(value: &str) -> String {
    let written = serde_json::Value::from(value).to_string();
    written[1..written.len() - 1].to_owned()
}

/// As Go's `%q` writes it within quotes, where that is not what JSON does: control characters as `\x1b`.
fn quoted(value: &str) -> String {
    value.chars().fold(String::new(), |mut all, c| {
        match c {
            '"' | '\\' => all.extend(['\\', c]),
            '\n' => all.push_str("\\n"),
            '\r' => all.push_str("\\r"),
            '\t' => all.push_str("\\t"),
            '\u{7}' => all.push_str("\\a"),
            '\u{8}' => all.push_str("\\b"),
            '\u{b}' => all.push_str("\\v"),
            '\u{c}' => all.push_str("\\f"),
            c if c.is_ascii_control() => all.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => all.push(c),
        }
        all
    })
}

/// Replaces what stands after each `name` (with its `=`) up to a space, a quote or a bracket.
fn without_assigned(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_whitespace() || "\"'`,;)]}\\".contains(c)).unwrap_or(part.len());
        all.push_str(name);
        all.push_str(if end == 0 { "" } else { MASK });
        all.push_str(&part[end..]);
    }
    all
}

/// Replaces every place at which `value` stands: the whole of it, or a long beginning.
fn without(text: &str, value: &str) -> String {
    let probe = &value[..value.floor_char_boundary(BEGINNING)];
    let is_short = value.len() < SHORT;
    let (mut all, mut from) = (String::with_capacity(text.len()), 0);
    while let Some(at) = text[from..].find(probe).map(|at| from + at) {
        let same = text[at..].bytes().zip(value.bytes()).take_while(|(one, other)| one == other).count();
        let end = text.floor_char_boundary(at + same);
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let is_inside = is_word(text[..at].chars().next_back()) || is_word(text[end..].chars().next());
        let is_hit = if is_short { !is_inside } else { same >= value.len().min(BEGINNING) };
        // At least one character on, so that the search ends.
        let next = if is_hit { end } else { at + text[at..].chars().next().map_or(1, char::len_utf8) };
        all.push_str(&text[from..at]);
        all.push_str(if is_hit { MASK } else { &text[at..next] });
        from = next;
    }
    all.push_str(&text[from..]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(env: &[&str], text: &str) -> String {
        let env: Vec<String> = env.iter().map(|entry| (*entry).to_owned()).collect();
        Mask::new(&env, []).apply(text)
    }

    #[test]
    fn a_value_is_in_no_text_however_the_engine_writes_it() {
        let secret = "p4ss\"w0rd\nsecond line\u{1b}x";
        let env = [format!("TOKEN={secret}")];
        let mask = Mask::new(&env, []);
        let once = serde_json::to_string(secret).unwrap();
        for text in [
            format!("invalid environment variable: {secret}"),
            format!("invalid environment variable: {once}"),
            format!("{{\"message\":{}}}", serde_json::to_string(&format!("bad {once}")).unwrap()),
            "invalid: p4ss\\\"w0rd\\nsecond line\\x1bx".to_owned(),
            "line 2: second line\u{1b}x".to_owned(),
            "cut off: p4ss\"w0rd\nsec".to_owned(),
        ] {
            let masked = mask.apply(&text);
            assert!(masked.contains(MASK), "{masked}");
            for part in ["p4ss", "w0rd", "second"] {
                assert!(!masked.contains(part), "{masked}");
            }
        }
    }

    #[test]
    fn what_follows_a_variable_s_name_is_a_value() {
        assert_eq!(
            masked(&["TOKEN=abcdef"], "invalid: \"TOKEN=%61bc\" and TOKEN="),
            "invalid: \"TOKEN=***\" and TOKEN="
        );
    }

    #[test]
    fn a_login_in_a_reference_is_not_told() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, expected) in [
            ("u:SECRET@host/x", "***@host/x".to_owned()),
            ("SECRET@host", "***@host".to_owned()),
            ("https://u:SECRET@host/x:1", "***@host/x:1".to_owned()),
            ("u:SE@CR/ET@host/x", "***@host/x".to_owned()),
            (&format!("u:SECRET@host/x@{digest}"), format!("***@host/x@{digest}")),
            (&format!("host:5000/x:1@{digest}"), format!("host:5000/x:1@{digest}")),
            ("host:5000/x:1", "host:5000/x:1".to_owned()),
        ] {
            assert_eq!(reference(text), expected, "{text}");
        }
    }

    #[test]
    fn short_values_leave_other_words_alone() {
        assert_eq!(masked(&["A=1", "B=port"], "port 8010 of 1 ports"), "*** 8010 of *** ports");
        assert_eq!(masked(&["A=", "B=x"], "bind: address already in use"), "bind: address already in use");
    }

    #[test]
    fn a_value_that_holds_another_goes_as_a_whole() {
        assert_eq!(masked(&["A=secret", "B=secret-of-all"], "x secret-of-all x secret x"), "x *** x *** x");
    }

    #[test]
    fn the_work_is_bounded_and_characters_stay_whole() {
        let text = "é".repeat(MOST);
        assert_eq!(masked(&["A=éééééééééé"], &text).replace(MASK, "").replace('é', ""), "");
        assert!(Mask::default().apply(&text).len() <= MOST);
    }

    #[test]
    fn a_create_request_s_labels_and_command_are_values() {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let body = ContainerCreateBody {
            labels: Some(
                [label("owner", "alice-and-bob"), label(labels::ID, "the-id"), label(labels::EGRESS_TOKEN, "t0ken-1")]
                    .into(),
            ),
            cmd: Some(vec!["--password=hunter22".to_owned()]),
            ..Default::default()
        };
        let masked = Mask::of(&body).apply("alice-and-bob the-id t0ken-1 --password=hunter22");
        assert_eq!(masked, "*** the-id *** ***");
    }
}
