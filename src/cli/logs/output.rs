//! The program's two outputs, written in large pieces.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::fstat,
};

use crate::{logs::record::Stream, telemetry};

/// As soon as so much is held, in bytes, it is written. At other times when there is nothing to read.
const FULL: usize = 128 * 1024;

/// An output that is done with more memory than this, in bytes, gives it back.
const KEPT: usize = 512 * 1024;

/// Both outputs. Where they lead to the same file, all goes to one, so that its order is kept.
pub(super) struct Output {
    stdout: Sink,
    stderr: Option<Sink>,
}

/// One of them.
struct Sink {
    file: Box<dyn Write + Send>,
    held: Vec<u8>,
    /// Whether the last byte that was written was a newline, or none was.
    is_at_start: bool,
}

impl Output {
    /// Those of the process.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub(super) fn of_process() -> io::Result<Self> {
        let of = |fd: &dyn AsFd| Ok::<_, io::Error>(Patient(File::from(fd.as_fd().try_clone_to_owned()?)));
        let (stdout, stderr) = (of(&io::stdout())?, of(&io::stderr())?);
        let same = match (fstat(&stdout.0), fstat(&stderr.0)) {
            (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
            _ => false,
        };
        let stderr: Option<Box<dyn Write + Send>> = if same { None } else { Some(Box::new(stderr)) };
        Ok(Self::new(Box::new(stdout), stderr))
    }

    /// These; without `stderr` it is the same as `stdout`.
    pub(super) fn new(stdout: Box<dyn Write + Send>, stderr: Option<Box<dyn Write + Send>>) -> Self {
        let sink = |file| Sink { file, held: Vec::new(), is_at_start: true };
        Self { stdout: sink(stdout), stderr: stderr.map(sink) }
    }

    /// Where to append what this stream is to get; [`Self::spill`] comes behind it.
    #[inline]
    pub(super) fn buffer(&mut self, stream: Stream) -> &mut Vec<u8> {
        &mut self.sink(stream).held
    }

    /// Writes if much is held.
    ///
    /// # Errors
    ///
    /// As [`Self::flush`].
    #[inline]
    pub(super) fn spill(&mut self, stream: Stream) -> io::Result<()> {
        let sink = self.sink(stream);
        if sink.held.len() >= FULL { sink.flush() } else { Ok(()) }
    }

    /// Writes all that is held.
    ///
    /// # Errors
    ///
    /// An output takes nothing any more: [`io::ErrorKind::BrokenPipe`] if nobody reads it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let stdout = self.stdout.flush();
        // What a person is told does not wait for an output that takes nothing.
        let stderr = self.stderr.as_mut().map_or(Ok(()), Sink::flush);
        stdout.and(stderr)
    }

    /// Writes a line for a person to the standard error, behind all that came before it.
    ///
    /// # Errors
    ///
    /// As [`Self::flush`].
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        let sink = self.sink(Stream::Stderr);
        let is_at_start = sink.held.last().map_or(sink.is_at_start, |last| *last == b'\n');
        let break_line = if is_at_start { "" } else { "\n" };
        let line = format!("{break_line}opensandbox-gateway: {}\n", telemetry::one_line(text));
        sink.held.extend_from_slice(line.as_bytes());
        self.flush()
    }

    #[inline]
    fn sink(&mut self, stream: Stream) -> &mut Sink {
        match (stream, &mut self.stderr) {
            (Stream::Stderr, Some(stderr)) => stderr,
            _ => &mut self.stdout,
        }
    }
}

impl Sink {
    fn flush(&mut self) -> io::Result<()> {
        let Some(last) = self.held.last() else { return Ok(()) };
        self.is_at_start = *last == b'\n';
        self.file.write_all(&self.held)?;
        self.held.clear();
        if self.held.capacity() > KEPT {
            self.held = Vec::new();
        }
        Ok(())
    }
}

/// A file that is waited for also where whoever shares it has made it non-blocking.
struct Patient(File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written, in the order in which it was.
    #[derive(Debug, Clone, Default)]
    pub(in super::super) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(in super::super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        pub(in super::super) fn bytes(&self) -> Vec<u8> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Outputs that lead to different files, and what is in them.
    pub(in super::super) fn apart() -> (Output, Written, Written) {
        let (stdout, stderr) = (Written::default(), Written::default());
        (Output::new(Box::new(stdout.clone()), Some(Box::new(stderr.clone()))), stdout, stderr)
    }

    #[test]
    fn what_leads_to_one_file_keeps_its_order() {
        let all = Written::default();
        let mut output = Output::new(Box::new(all.clone()), None);
        for (stream, text) in [(Stream::Stdout, "a\n"), (Stream::Stderr, "b\n"), (Stream::Stdout, "c")] {
            output.buffer(stream).extend_from_slice(text.as_bytes());
            output.spill(stream).unwrap();
        }
        assert_eq!(all.text(), "");
        output.note("n\u{1b}").unwrap();
        output.note("m").unwrap();
        let text = all.text();
        assert!(text.starts_with("a\nb\nc\nopensandbox-gateway: n") && !text.contains('\u{1b}'), "{text}");
        assert!(text.ends_with("\nopensandbox-gateway: m\n"), "{text}");
    }

    #[test]
    fn much_is_written_at_once_and_not_kept() {
        let (mut output, stdout, stderr) = apart();
        output.buffer(Stream::Stdout).extend_from_slice(&vec![b'x'; 2 * KEPT]);
        output.spill(Stream::Stdout).unwrap();
        assert_eq!((stdout.bytes().len(), output.buffer(Stream::Stdout).capacity()), (2 * KEPT, 0));
        output.note("n").unwrap();
        assert_eq!(stderr.text(), "opensandbox-gateway: n\n");
    }
}
