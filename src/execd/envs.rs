//! Variables that are added while a sandbox lives: the file that `EXECD_ENVS` names, which `commands.set_env` of the official
//! client appends to, and the `$NAME` in a working directory.

use std::{ffi::OsStr, path::Path};

use super::error::{self, shown};
use crate::{
    children::environment::{ENVS, Variables},
    error::Error,
    regular_file,
};

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// How long all variables together, or a text whose names were replaced, may be, in bytes. The kernel takes hardly more for a
/// program.
const MAX_TEXT: usize = 1024 * 1024;

/// How long all texts of a file whose names are replaced may become together, in bytes. A short line takes a long value as often
/// as it is there.
const MAX_WORK: usize = 16 * MAX_TEXT;

/// Why names are not replaced.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreplaced<'t> {
    /// There is no variable of this name.
    Unknown(&'t str),
    /// The text would be too long.
    TooLong,
}

impl Unreplaced<'_> {
    /// The error of a request's `field`.
    pub fn of(self, field: &str) -> Error {
        error::invalid(match self {
            Self::Unknown(name) => format!("{field}: there is no variable {}.", shown(name)),
            Self::TooLong => format!("{field}: with its variables it is longer than {MAX_TEXT} bytes."),
        })
    }
}

/// Checks that all variables together are not too long.
///
/// # Errors
/// They are.
pub fn check(variables: &Variables) -> Result<(), Error> {
    if length(variables) <= MAX_TEXT { Ok(()) } else { Err(too_long()) }
}

fn length(variables: &Variables) -> usize {
    variables.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn too_long() -> Error {
    let text = format!("The variables (EXECD_ENVS and envs) are longer than {MAX_TEXT} bytes together.");
    error::invalid(text)
}

/// Adds the variables of the file that `EXECD_ENVS` names. None is fine: it is made when it is needed.
///
/// # Errors
/// It is no file, too long, or cannot be read; or the variables become too long.
pub fn load(variables: &mut Variables) -> Result<(), Error> {
    let Some(path) = variables.get(OsStr::new(ENVS)).map(|path| Path::new(path).to_owned()) else { return Ok(()) };
    let text = match regular_file::read(&path, MAX_FILE) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error::io("read for variables (EXECD_ENVS)", &path, error)),
    };
    let length = length(variables);
    let mut reader = Reader { rest: &text, variables, length, work: 0 };
    while reader.entry()? {}
    Ok(())
}

/// Reads entries `NAME=value`, one a line; the last one of a name counts. A value in single quotes is taken as it is, also over
/// several lines; in double quotes, and without, `$NAME` is replaced. What is no entry is passed over.
struct Reader<'t> {
    rest: &'t str,
    variables: &'t mut Variables,
    /// Of all variables.
    length: usize,
    /// Of all texts whose names were replaced.
    work: usize,
}

impl Reader<'_> {
    /// Reads one line, or more if its value goes on; false at the end.
    fn entry(&mut self) -> Result<bool, Error> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return Ok(false);
        }
        // The line's end is looked for where it is needed: behind a quoted value there may be another entry, and many of them in
        // a line would have it looked for as often.
        let (head, value) = self.rest.split_at(self.rest.find(['=', '\n']).map_or(self.rest.len(), |end| end + 1));
        let name = head.strip_suffix('=').map(|name| name.strip_prefix("export ").unwrap_or(name).trim_start());
        let Some(name) = name.filter(|name| is_name(name)) else {
            self.rest = if head.ends_with('=') { &value[line(value).len()..] } else { value };
            return Ok(true);
        };
        let quoted = match value.as_bytes().first() {
            Some(b'\'') => single_quoted(value),
            Some(b'"') => self.double_quoted(value)?,
            _ => None,
        };
        let (new, length) = match quoted {
            Some(quoted) => quoted,
            None => (self.replaced(line(value).trim())?, line(value).len()),
        };
        self.length += name.len() + new.len();
        if let Some(former) = self.variables.insert(name.into(), new.into()) {
            self.length -= name.len() + former.len();
        }
        self.rest = &value[length..];
        if self.length <= MAX_TEXT { Ok(true) } else { Err(too_long()) }
    }

    /// Replaces names; one that is unknown by nothing.
    fn replaced(&mut self, text: &str) -> Result<String, Error> {
        let text = replaced(text, self.variables, Some("")).map_err(|_| too_long())?;
        self.work += text.len();
        match self.work > MAX_WORK {
            true => Err(error::invalid(format!(
                "The values of EXECD_ENVS are longer than {MAX_WORK} bytes together once names are replaced."
            ))),
            false => Ok(text),
        }
    }

    /// A value with escapes, and its length with the quotes; None if it has no end.
    fn double_quoted(&mut self, text: &str) -> Result<Option<(String, usize)>, Error> {
        let (mut value, mut plain) = (String::new(), String::new());
        let mut characters = text.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    value.push_str(&self.replaced(&plain)?);
                    return Ok(Some((value, at + 1)));
                }
                '\\' => {
                    value.push_str(&self.replaced(&std::mem::take(&mut plain))?);
                    if value.len() > MAX_TEXT {
                        return Err(too_long());
                    }
                    let Some((_, escaped)) = characters.next() else { return Ok(None) };
                    match escaped {
                        'n' => value.push('\n'),
                        'r' => value.push('\r'),
                        't' => value.push('\t'),
                        escaped @ ('\\' | '"' | '$' | '`') => value.push(escaped),
                        other => value.extend(['\\', other]),
                    }
                }
                other => plain.push(other),
            }
        }
        Ok(None)
    }
}

/// A text's first line, without its end.
fn line(text: &str) -> &str {
    text.split_once('\n').map_or(text, |(line, _)| line)
}

fn single_quoted(text: &str) -> Option<(String, usize)> {
    let end = text[1..].find('\'')?;
    Some((text[1..=end].to_owned(), end + 2))
}

/// Replaces `$NAME` and `${NAME}`; a name that is unknown by `default`.
///
/// # Errors
/// A name is unknown and there is no default, or the text becomes too long.
pub fn replaced<'t>(text: &'t str, variables: &Variables, default: Option<&str>) -> Result<String, Unreplaced<'t>> {
    let push = |out: &mut String, more: &str| {
        if more.len() > MAX_TEXT - out.len() {
            return Err(Unreplaced::TooLong);
        }
        out.push_str(more);
        Ok(())
    };
    let name_at = |text: &'t str| {
        text.split_at(text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len()))
    };
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        push(&mut out, &rest[..at])?;
        rest = &rest[at + 1..];
        let braced = rest.strip_prefix('{').map(name_at);
        let braced = braced.and_then(|(name, after)| Some((name, after.strip_prefix('}')?)));
        let (name, after) = braced.filter(|(name, _)| is_name(name)).unwrap_or_else(|| name_at(rest));
        if !is_name(name) {
            push(&mut out, "$")?;
            continue;
        }
        match variables.get(OsStr::new(name)) {
            Some(value) => push(&mut out, &value.to_string_lossy())?,
            None => push(&mut out, default.ok_or(Unreplaced::Unknown(name))?)?,
        }
        rest = after;
    }
    push(&mut out, rest)?;
    Ok(out)
}

/// Whether a shell takes it for a variable's name.
fn is_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn loaded(text: &str) -> Variables {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("envs");
        fs::write(&path, text).unwrap();
        let mut variables = Variables::from([(ENVS.into(), path.into()), ("HOME".into(), "/home/me".into())]);
        load(&mut variables).unwrap();
        variables.remove(OsStr::new(ENVS));
        variables.remove(OsStr::new("HOME"));
        variables
    }

    #[test]
    fn entries_are_read_as_the_official_client_writes_them() {
        for (text, value) in [
            ("A=b", "b"),
            ("A='it $HOME \\n \"x\"'", "it $HOME \\n \"x\""),
            ("A='two\nlines'", "two\nlines"),
            ("A=\"it's\\n\\t\\\\ \\\"q\\\" $HOME\"", "it's\n\t\\ \"q\" /home/me"),
            ("A=\"\\$HOME ${HOME}x $NOTHING.\"", "$HOME /home/mex ."),
            ("A=1\nA=2", "2"),
            ("# A=0\n\n  export A=$HOME/x  \nnot an entry\n1A=x", "/home/me/x"),
            ("A='no end", "'no end"),
            ("A=", ""),
        ] {
            assert_eq!(loaded(text), Variables::from([("A".into(), value.into())]), "{text}");
        }
    }

    #[test]
    fn several_entries_may_be_in_a_line_behind_quotes() {
        let found = loaded("A='1'B=\"2\" C=3 D=4\nno entry # E='5'\n=x\nF");
        let expected = [("A", "1"), ("B", "2"), ("C", "3 D=4")];
        assert_eq!(found, expected.map(|(name, value)| (name.into(), value.into())).into());
    }

    /// A sandbox writes the file, and each of its commands is started with it.
    #[test]
    fn no_file_costs_much() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("envs");
        let most = usize::try_from(MAX_FILE).unwrap();
        let long = format!("B={}\n", "b".repeat(most / 2));
        for text in [
            long.clone() + &"A=$B\n".repeat(most / 10),
            long + &"A=\"$B\\\"\"\n".repeat(most / 24),
            "A=''".repeat(most / 4),
            "A=\"\"".repeat(most / 4),
            "A='\n".repeat(most / 4),
            "A=\"\\\"\n".repeat(most / 8),
            "${".repeat(most / 2),
            "A=${B".repeat(most / 5),
            "export ".repeat(most / 7),
            "=".repeat(most),
            " ".repeat(most),
        ] {
            fs::write(&path, &text).unwrap();
            let start = std::time::Instant::now();
            let read = load(&mut Variables::from([(ENVS.into(), path.clone().into())]));
            let took = start.elapsed();
            assert!(took < std::time::Duration::from_secs(3), "{took:?} {read:?}: {}", &text[text.len() - 20..]);
        }
    }

    #[test]
    fn what_is_no_file_is_refused_and_nothing_is_fine() {
        let directory = tempfile::tempdir().unwrap();
        let with = |path: &Path| load(&mut Variables::from([(ENVS.into(), path.into())]));
        assert!(with(&directory.path().join("none")).is_ok());
        assert!(with(directory.path()).is_err());
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(with(&pipe).is_err());
        let long = directory.path().join("long");
        fs::File::create(&long).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(with(&long).is_err());
    }

    #[test]
    fn unknown_names_are_told() {
        let variables = Variables::from([("A".into(), "b".into())]);
        assert_eq!(replaced("$A/${A}/$/${}/$1", &variables, None), Ok("b/b/$/${}/$1".to_owned()));
        assert_eq!(replaced("$AB", &variables, None), Err(Unreplaced::Unknown("AB")));
    }

    #[test]
    fn what_grows_too_long_is_refused_before_it_does() {
        let variables = Variables::from([("A".into(), "a".repeat(4000).into())]);
        assert_eq!(replaced(&"$A".repeat(50_000), &variables, None), Err(Unreplaced::TooLong));
        assert_eq!(replaced(&"$A".repeat(250), &variables, None).map(|text| text.len()), Ok(1_000_000));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("envs");
        for (begin, line) in [("A=a\n", "A=$A$A\n"), ("A=a\n", "A=\"$A\\\\$A\"\n")] {
            fs::write(&path, format!("{begin}{}", line.repeat(64))).unwrap();
            let refused = load(&mut Variables::from([(ENVS.into(), path.clone().into())])).unwrap_err();
            assert_eq!(refused.message, too_long().message);
            fs::write(&path, format!("{begin}{}", line.repeat(18))).unwrap();
            load(&mut Variables::from([(ENVS.into(), path.clone().into())])).unwrap();
        }
    }
}
