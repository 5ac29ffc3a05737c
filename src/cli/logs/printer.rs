//! From lines of the answer to what is written.

use std::{cell::RefCell, io, rc::Rc};

use super::{
    lines::TooLong,
    options::Form,
    output::Output,
    record::{self, Event, Log, Record},
};
use crate::logs::record::Stream;

/// Why no more lines are taken.
#[derive(Debug)]
pub(super) enum Stop {
    /// The log's own end.
    End(Box<Event>),
    /// The output takes nothing.
    Output(io::Error),
    /// What came is no record.
    Invalid(&'static str),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<TooLong> for Stop {
    fn from(_: TooLong) -> Self {
        Self::Invalid("the server sent a line that is longer than 8 MiB")
    }
}

/// How the lines of a sandbox are told from those of others.
#[derive(Debug, Default, Clone)]
pub(super) struct Mark {
    /// Stands before each note.
    pub(super) label: String,
    /// Stands before each line of the two streams.
    pub(super) prefix: [Vec<u8>; 2],
    /// The first member of each record, with its comma.
    pub(super) member: Vec<u8>,
}

/// Writes records, and knows how far they were written.
pub(super) struct Printer {
    output: Rc<RefCell<Output>>,
    /// With one, every record is a line of its own: between two of them the lines of others are written.
    pub(super) mark: Option<Mark>,
    form: Form,
    timestamps: bool,
    /// For each stream: the last record was only a part of its line.
    in_line: [bool; 2],
    /// The token of the last record that was taken; empty before the first.
    id: Vec<u8>,
    /// Records of the log that were taken, and pings: that a connection is good for something.
    pub(super) taken: u64,
    /// Something of the log was taken.
    pub(super) has_written: bool,
}

impl Printer {
    /// One that has the output to itself.
    pub(super) fn new(output: Output, form: Form, timestamps: bool) -> Self {
        Self::shared(Rc::new(RefCell::new(output)), form, timestamps, None)
    }

    /// One among others.
    pub(super) fn shared(output: Rc<RefCell<Output>>, form: Form, timestamps: bool, mark: Option<Mark>) -> Self {
        Self { output, mark, form, timestamps, in_line: [false; 2], id: Vec::new(), taken: 0, has_written: false }
    }

    /// Writes all that is held.
    ///
    /// # Errors
    ///
    /// As [`Output::flush`].
    pub(super) fn flush(&self) -> io::Result<()> {
        self.output.borrow_mut().flush()
    }

    /// Writes a line for a person, and which sandbox it is about where there are several.
    ///
    /// # Errors
    ///
    /// As [`Output::flush`].
    pub(super) fn note(&self, text: &str) -> io::Result<()> {
        let mut output = self.output.borrow_mut();
        match &self.mark {
            Some(mark) => output.note(&format!("{}: {text}", mark.label)),
            None => output.note(text),
        }
    }

    /// Behind what to go on; none before the first token.
    pub(super) fn after(&self) -> Option<&str> {
        std::str::from_utf8(&self.id).ok().filter(|id| !id.is_empty())
    }

    /// Takes a line of the answer.
    ///
    /// # Errors
    ///
    /// It is the last one, no record, or cannot be written.
    #[inline]
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Stop> {
        if self.form == Form::Json {
            if let Some(id) = record::id(line) {
                self.set_id(id);
                return Ok(self.record_verbatim(line)?);
            }
        } else if let Some(log) = Log::usual(line)
            && self.log(&log)?
        {
            return Ok(());
        }
        self.unusual(line)
    }

    /// Writes a record; answers whether it is one.
    #[inline]
    fn log(&mut self, log: &Log<'_>) -> io::Result<bool> {
        let stream = match self.form {
            Form::Raw => Stream::Stdout,
            Form::Text | Form::Json => log.stream,
        };
        let mut output = self.output.borrow_mut();
        let buffer = output.buffer(stream);
        let start = buffer.len();
        if let Some(mark) = &self.mark {
            buffer.extend_from_slice(&mark.prefix[stream.index()]);
        }
        let in_line = &mut self.in_line[log.stream.index()];
        if self.timestamps && !*in_line && log.has_time() {
            buffer.extend_from_slice(&log.time);
            buffer.push(b' ');
        }
        if log.text.append(buffer).is_none() {
            buffer.truncate(start);
            return Ok(false);
        }
        *in_line = log.partial;
        if self.mark.is_some() {
            *in_line = false;
            if buffer.last() != Some(&b'\n') {
                buffer.push(b'\n');
            }
        }
        output.spill(stream)?;
        drop(output);
        self.set_id(&log.id);
        self.note_taken();
        Ok(true)
    }

    #[cold]
    fn unusual(&mut self, line: &[u8]) -> Result<(), Stop> {
        const NONE: Stop = Stop::Invalid("the server sent something that is no record of a log");
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let line = if self.mark.is_some() { line.trim_ascii() } else { line };
        if self.mark.is_some() && !line.starts_with(b"{") {
            return Err(NONE);
        }
        match Record::parse(line) {
            Some(Record::Log(log)) if self.form == Form::Json => {
                self.set_id(&log.id);
                Ok(self.record_verbatim(line)?)
            }
            Some(Record::Log(log)) => self.log(&log)?.then_some(()).ok_or(NONE),
            Some(Record::Event(event)) if !event.event.is_empty() => self.event(*event, line),
            Some(Record::Event(_)) | None => Err(NONE),
        }
    }

    fn event(&mut self, event: Event, line: &[u8]) -> Result<(), Stop> {
        if let Some(id) = &event.id {
            self.set_id(id.as_bytes());
        }
        match event.event.as_str() {
            "ping" => {
                self.taken += 1;
                return Ok(());
            }
            "end" => {
                // One that is come back from is none for who reads the output.
                if self.form == Form::Json && !is_break(&event) {
                    self.verbatim(line)?;
                }
                return Err(Stop::End(Box::new(event)));
            }
            // What follows does not belong to a line that was begun.
            "gap" | "restart" => self.in_line = [false; 2],
            _ => {}
        }
        match self.form {
            Form::Json => self.verbatim(line)?,
            Form::Text | Form::Raw => self.note(&told(&event))?,
        }
        Ok(())
    }

    fn set_id(&mut self, id: &[u8]) {
        if !id.is_empty() {
            self.id.clear();
            self.id.extend_from_slice(id);
        }
    }

    fn note_taken(&mut self) {
        self.taken += 1;
        self.has_written = true;
    }

    #[inline]
    fn record_verbatim(&mut self, line: &[u8]) -> io::Result<()> {
        self.note_taken();
        self.verbatim(line)
    }

    #[inline]
    fn verbatim(&mut self, line: &[u8]) -> io::Result<()> {
        let stream = Stream::Stdout;
        let mut output = self.output.borrow_mut();
        let buffer = output.buffer(stream);
        match (&self.mark, line.split_first()) {
            // A record is an object, which begins with a brace.
            (Some(mark), Some((first, rest))) => {
                buffer.push(*first);
                buffer.extend_from_slice(&mark.member);
                buffer.extend_from_slice(rest);
            }
            _ => buffer.extend_from_slice(line),
        }
        buffer.push(b'\n');
        output.spill(stream)
    }
}

/// Whether an end is one of the connection rather than of the log, which goes on behind its token (log-api.md §5).
pub(super) fn is_break(end: &Event) -> bool {
    matches!(end.reason.as_str(), "drain" | "slow_client" | "backend_lost" | "restarted")
}

/// An event in words.
fn told(event: &Event) -> String {
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "an unknown time".to_owned());
    match event.event.as_str() {
        "gap" => {
            let lines = match event.lines {
                Some(1) => "1 line is missing".to_owned(),
                Some(lines) => format!("{lines} lines are missing"),
                None => "lines are missing".to_owned(),
            };
            let why = match event.reason.as_str() {
                "rotated" => "the log was rotated",
                "overrun" => "they were not read in time",
                "backend_lost" => "the server could not read the log",
                "cursor_expired" => "the last line that was written is not there any more",
                other => other,
            };
            format!("{lines} between {} and {}: {why}", time(&event.after), time(&event.before))
        }
        "restart" => "the sandbox's container was started anew".to_owned(),
        other => match &event.message {
            Some(message) => format!("{other}: {message}"),
            None => other.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{super::output::tests::apart, *};

    const TIME: &str = "2026-01-31T08:00:00.123456789Z";

    fn record(text: &str, stream: &str, id: &str) -> String {
        format!(r#"{{"log":"{text}","stream":"{stream}","time":"{TIME}","id":"{id}"}}"#)
    }

    fn partial(text: &str, stream: &str) -> String {
        format!(r#"{{"log":"{text}","partial":true,"stream":"{stream}","time":"{TIME}","id":"p"}}"#)
    }

    fn printed(form: Form, timestamps: bool, lines: &[String]) -> (String, String, Option<String>) {
        let (output, stdout, stderr) = apart();
        let mut printer = Printer::new(output, form, timestamps);
        for line in lines {
            printer.line(line.as_bytes()).unwrap();
        }
        printer.flush().unwrap();
        (stdout.text(), stderr.text(), printer.after().map(str::to_owned))
    }

    #[test]
    fn each_form_writes_its_own() {
        let base64 = format!(r#"{{"log_base64":"Ygo=","stream":"stderr","time":"{TIME}","id":"2"}}"#);
        let ping = r#"{"event":"ping"}"#.to_owned();
        let odd = r#"{"id":"3","log":"c\n","stream":"stdout"}"#.to_owned();
        let lines = [record(r"a\n", "stdout", "1"), base64.clone(), ping, odd.clone()];
        assert_eq!(printed(Form::Text, false, &lines), ("a\nc\n".into(), "b\n".into(), Some("3".into())));
        assert_eq!(printed(Form::Raw, false, &lines), ("a\nb\nc\n".into(), String::new(), Some("3".into())));
        let json = format!("{}\n{base64}\n{odd}\n", lines[0]);
        assert_eq!(printed(Form::Json, false, &lines), (json, String::new(), Some("3".into())));
    }

    #[test]
    fn a_time_stands_before_a_whole_line() {
        let lines = [
            partial("a", "stdout"),
            record(r"x\n", "stderr", "1"),
            partial("b", "stdout"),
            record(r"c\n", "stdout", "2"),
            record(r"d\n", "stdout", "3"),
        ];
        let (stdout, stderr, _) = printed(Form::Text, true, &lines);
        assert_eq!(stdout, format!("{TIME} abc\n{TIME} d\n"));
        assert_eq!(stderr, format!("{TIME} x\n"));
    }

    #[test]
    fn what_is_missing_is_told() {
        let gap = r#"{"event":"gap","reason":"rotated","after":"A","before":null,"lines":null,"id":"g"}"#.to_owned();
        let restart = r#"{"event":"restart","id":"r"}"#.to_owned();
        let notice = r#"{"event":"notice","message":"m\u001b"}"#.to_owned();
        let overrun = r#"{"event":"gap","reason":"overrun","after":"A","before":"B","lines":1}"#.to_owned();
        let lines = [gap, restart, notice, overrun];
        let (stdout, stderr, after) = printed(Form::Text, false, &lines);
        let expected = [
            "lines are missing between A and an unknown time: the log was rotated",
            "the sandbox's container was started anew",
            "notice: m",
            "1 line is missing between A and B: they were not read in time",
        ];
        for (line, expected) in stderr.lines().zip(expected) {
            assert!(line.starts_with(&format!("opensandbox-gateway: {expected}")), "{line}");
        }
        assert_eq!((stdout.as_str(), stderr.lines().count(), after.as_deref()), ("", 4, Some("r")));
        assert_eq!(printed(Form::Json, false, &lines), (lines.join("\n") + "\n", String::new(), Some("r".into())));
    }

    #[test]
    fn an_end_that_is_come_back_from_is_not_written() {
        for (reason, is_written) in [("exited", true), ("complete", true), ("drain", false), ("restarted", false)] {
            let (output, stdout, _) = apart();
            let mut printer = Printer::new(output, Form::Json, false);
            let line = format!(r#"{{"event":"end","reason":"{reason}","id":"e"}}"#);
            assert!(matches!(printer.line(line.as_bytes()), Err(Stop::End(end)) if end.reason == reason));
            printer.flush().unwrap();
            assert_eq!((!stdout.text().is_empty(), printer.after()), (is_written, Some("e")));
        }
    }

    #[test]
    fn what_is_no_record_stops_it() {
        for line in ["x", "{}", "[]", r#"{"log":"\ud800"}"#, r#"{"log_base64":"?"}"#, r#"{"event":1}"#] {
            for form in [Form::Text, Form::Json] {
                let stopped = Printer::new(apart().0, form, false).line(line.as_bytes());
                let may_pass = form == Form::Json && line.contains("base64");
                assert!(matches!(stopped, Err(Stop::Invalid(_))) || may_pass, "{line}");
            }
        }
    }
}
