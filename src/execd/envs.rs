//! Variables that are added while a sandbox lives: the file that `EXECD_ENVS` names, which `commands.set_env` of the official
//! client appends to, and the `$NAME` in a working directory.

use std::{convert::Infallible, ffi::OsStr, fs::File, io::Read, os::unix::fs::OpenOptionsExt, path::Path};

use super::error::ExecdError;
use crate::children::environment::{ENVS, Variables};

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Adds the variables of the file that `EXECD_ENVS` names. None is fine: it is made when it is needed.
///
/// # Errors
/// It is no file, too long, or cannot be read.
pub fn load(variables: &mut Variables) -> Result<(), ExecdError> {
    let Some(path) = variables.get(OsStr::new(ENVS)).map(|path| Path::new(path).to_owned()) else { return Ok(()) };
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ExecdError::io("read for variables (EXECD_ENVS)", &path, &error)),
    };
    let mut reader = Reader { rest: &text, variables };
    while reader.entry() {}
    Ok(())
}

fn read(path: &Path) -> std::io::Result<String> {
    // Neither waits for the other end of a pipe.
    let file = File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(std::io::Error::other(format!("it must be a file of at most {MAX_FILE} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads entries `NAME=value`, one a line; the last one of a name counts. A value in single quotes is taken as it is, also over
/// several lines; in double quotes, and without, `$NAME` is replaced. What is no entry is passed over.
struct Reader<'t> {
    rest: &'t str,
    variables: &'t mut Variables,
}

impl Reader<'_> {
    /// Reads one line, or more if its value goes on; false at the end.
    fn entry(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return false;
        }
        let line = self.rest.split_once('\n').map_or(self.rest, |(line, _)| line);
        let assignment = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let name = assignment.split_once('=').map(|(name, _)| name).filter(|name| is_name(name));
        let Some(name) = name else {
            self.rest = &self.rest[line.len()..];
            return true;
        };
        let begin = line.len() - assignment.len() + name.len() + 1;
        let value = &self.rest[begin..];
        let (value, length) = match value.as_bytes().first() {
            Some(b'\'') => single_quoted(value),
            Some(b'"') => self.double_quoted(value),
            _ => None,
        }
        .unwrap_or_else(|| {
            let bare = &line[begin..];
            (self.replaced(bare.trim()), bare.len())
        });
        self.variables.insert(name.into(), value.into());
        self.rest = &self.rest[begin + length..];
        true
    }

    /// Replaces names; one that is unknown by nothing.
    fn replaced(&self, text: &str) -> String {
        let nothing = |_: &str| Ok::<_, Infallible>(String::new());
        replaced(text, self.variables, nothing).unwrap_or_else(|never| match never {})
    }

    /// A value with escapes, and its length with the quotes; None if it has no end.
    fn double_quoted(&self, text: &str) -> Option<(String, usize)> {
        let (mut value, mut plain) = (String::new(), String::new());
        let mut characters = text.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    value.push_str(&self.replaced(&plain));
                    return Some((value, at + 1));
                }
                '\\' => {
                    value.push_str(&self.replaced(&std::mem::take(&mut plain)));
                    match characters.next()?.1 {
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
        None
    }
}

fn single_quoted(text: &str) -> Option<(String, usize)> {
    let end = text[1..].find('\'')?;
    Some((text[1..=end].to_owned(), end + 2))
}

/// Replaces `$NAME` and `${NAME}`; a name that is unknown by what `missing` says.
///
/// # Errors
/// Those of `missing`.
pub fn replaced<E>(
    text: &str,
    variables: &Variables,
    missing: impl Fn(&str) -> Result<String, E>,
) -> Result<String, E> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, after)) if is_name(name) => (name, after),
            _ => rest.split_at(rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())),
        };
        if !is_name(name) {
            out.push('$');
            continue;
        }
        match variables.get(OsStr::new(name)) {
            Some(value) => out.push_str(&value.to_string_lossy()),
            None => out.push_str(&missing(name)?),
        }
        rest = after;
    }
    out.push_str(rest);
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
    fn what_is_no_file_is_refused_and_nothing_is_fine() {
        let directory = tempfile::tempdir().unwrap();
        let with = |path: &Path| load(&mut Variables::from([(ENVS.into(), path.into())]));
        assert!(with(&directory.path().join("none")).is_ok());
        assert!(with(directory.path()).is_err());
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(with(&pipe).is_err());
        let long = directory.path().join("long");
        File::create(&long).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(with(&long).is_err());
    }

    #[test]
    fn unknown_names_are_told() {
        let variables = Variables::from([("A".into(), "b".into())]);
        assert_eq!(
            replaced("$A/${A}/$/${}/$1", &variables, |name| Err(name.to_owned())),
            Ok("b/b/$/${}/$1".to_owned())
        );
        assert_eq!(replaced("$AB", &variables, |name| Err(name.to_owned())), Err("AB".to_owned()));
    }
}
