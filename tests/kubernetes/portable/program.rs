//! What a container does, as a value: run step by step on the test API server, and written as a shell script for a real cluster.

use std::{fmt::Write, ops::Range, time::Duration};

/// One thing that a container does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Prints bytes to standard output.
    Out(Vec<u8>),
    /// Prints bytes to standard error.
    Err(Vec<u8>),
    /// Prints a line of so many bytes and its end.
    Long(usize),
    /// Prints `line-N` for each number, as fast as it can.
    Lines(Range<u64>),
    /// Prints `line-N` for each number, with this pause after each.
    Slowly(Range<u64>, Duration),
    /// Does nothing for so long.
    Pause(Duration),
}

/// What the instances of a container do, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The steps of an instance and its exit code. One without a code goes on doing nothing.
    pub(crate) runs: Vec<(Vec<Step>, Option<i32>)>,
}

impl Program {
    /// One instance that does this and then nothing.
    pub(crate) fn stays(steps: impl Into<Vec<Step>>) -> Self {
        Self { runs: vec![(steps.into(), None)] }
    }

    /// One instance that does this and exits.
    pub(crate) fn exits(steps: impl Into<Vec<Step>>, code: i32) -> Self {
        Self { runs: vec![(steps.into(), Some(code))] }
    }

    /// This, and then another instance that does that and then nothing.
    pub(crate) fn then(mut self, steps: impl Into<Vec<Step>>) -> Self {
        self.runs.push((steps.into(), None));
        self
    }

    /// Whether the container is to be started again when it exits.
    pub(crate) fn restarts(&self) -> bool {
        self.runs.len() > 1
    }

    /// The program for a POSIX shell. Instances count themselves in the folder `/state`, which outlasts them.
    pub(crate) fn script(&self) -> String {
        let mut script = "n=$(cat /state/n 2>/dev/null || echo 0)\necho $((n + 1)) >/state/n\ncase $n in\n".to_owned();
        let last = self.runs.len() - 1;
        for (number, (steps, code)) in self.runs.iter().enumerate() {
            let pattern = if number == last { "*".to_owned() } else { number.to_string() };
            let _ = writeln!(script, "{pattern})");
            for step in steps {
                let _ = writeln!(script, "{}", step.script());
            }
            let _ = match code {
                Some(code) => writeln!(script, "exit {code}\n;;"),
                // A sleep in the foreground would keep a shell from its traps: it needs none.
                None => writeln!(script, "while :; do sleep 3600; done\n;;"),
            };
        }
        script.push_str("esac\n");
        script
    }
}

impl Step {
    fn script(&self) -> String {
        match self {
            Self::Out(bytes) => format!("printf '{}'", escaped(bytes)),
            Self::Err(bytes) => format!("printf '{}' >&2", escaped(bytes)),
            // An argument of so many bytes may be more than a program takes.
            Self::Long(length) => format!("head -c {length} /dev/zero | tr '\\0' y; echo"),
            Self::Lines(range) => counted(range, ""),
            Self::Slowly(range, pause) => counted(range, &format!("; sleep {}", pause.as_secs_f64())),
            Self::Pause(pause) => format!("sleep {}", pause.as_secs_f64()),
        }
    }
}

fn counted(range: &Range<u64>, then: &str) -> String {
    let Range { start, end } = range;
    format!("i={start}; while [ $i -lt {end} ]; do echo line-$i{then}; i=$((i + 1)); done")
}

/// The bytes as a format of `printf`: what has a meaning there, or in a quoted word, as an octal number.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            byte => {
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text
}

#[test]
fn the_shell_prints_what_a_program_says() {
    let bytes: Vec<u8> = (0..=255).collect();
    for (step, expected) in [
        (Step::Out(bytes.clone()), bytes),
        (Step::Lines(3..6), b"line-3\nline-4\nline-5\n".to_vec()),
        (Step::Long(5), b"yyyyy\n".to_vec()),
    ] {
        let ended = std::process::Command::new("sh").args(["-c", &step.script()]).output().unwrap();
        assert_eq!(ended.stdout, expected);
    }
    let script = Program::exits([], 3).then([Step::Out(b"second".to_vec())]).script();
    assert!(script.contains("0)\nexit 3\n;;\n*)\nprintf 'second'\n"), "{script}");
}
