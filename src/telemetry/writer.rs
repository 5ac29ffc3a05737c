//! Writing the log on threads of their own: whoever logs never waits for a disk, nor for whoever reads the standard output.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use super::file::RotatedFile;

/// Most lines that wait to be written; more are left out, and counted.
const MAX_LINES: usize = 8192;

/// Most bytes that wait to be written: clients decide how long some lines are.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long the end of the program waits for the lines that are still to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// Hands lines over to the thread that writes them.
#[derive(Debug, Clone)]
pub(super) struct LineWriter {
    lines: SyncSender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Lines that were left out since the last one that was not.
    left_out: AtomicU64,
    /// Bytes that wait.
    waiting: AtomicUsize,
}

/// Writes, when dropped, what still waits.
#[derive(Debug)]
pub struct Flush(SyncSender<Message>);

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before is to be written, and then this told.
    Flush(SyncSender<()>),
}

impl LineWriter {
    /// Opens a file and starts its thread.
    pub(super) fn to_file(path: &Path, max_bytes: u64, backups: u32) -> io::Result<Self> {
        let mut file = RotatedFile::open(path, max_bytes, backups)?;
        Self::start(format!("the log file {}", path.display()), move |line| file.write(line))
    }

    /// Starts the thread of the standard output. A reader of it that has stopped costs lines, and nothing else.
    pub(super) fn to_stdout() -> io::Result<Self> {
        Self::start("the standard output".to_owned(), |line| io::stdout().write_all(line))
    }

    fn start(name: String, write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = mpsc::sync_channel(MAX_LINES);
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        thread::Builder::new().name("log".to_owned()).spawn(move || run(write, &name, &waiting, &shared))?;
        Ok(Self { lines, counts })
    }

    /// What the end of the program has to drop.
    pub(super) fn flush(&self) -> Flush {
        Flush(self.lines.clone())
    }
}

impl Flush {
    /// Waits until what was logged so far is written; not for long, as a reader or a disk may hang.
    pub fn now(&self) {
        let due = Instant::now() + PATIENCE;
        let (done, written) = mpsc::sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(returned)) = self.0.try_send(message) {
            if Instant::now() >= due {
                return;
            }
            message = returned;
            thread::sleep(Duration::from_millis(5));
        }
        // A thread that has ended is not worth waiting for either.
        let _ = written.recv_timeout(due - Instant::now());
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.now();
    }
}

impl MakeWriter<'_> for LineWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for LineWriter {
    /// The subscriber writes a line at once. Never fails: a log that cannot be written must not stop anything.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let has_room = self.counts.waiting.fetch_add(line.len(), Ordering::Relaxed) + line.len() <= MAX_BYTES;
        if !has_room || self.lines.try_send(Message::Line(line.to_vec())).is_err() {
            self.counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.counts.left_out.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run(mut write: impl FnMut(&[u8]) -> io::Result<()>, name: &str, waiting: &Receiver<Message>, counts: &Counts) {
    let mut is_failing = false;
    while let Ok(message) = waiting.recv() {
        let written = match message {
            Message::Line(line) => {
                let written = write_line(&mut write, &line, counts.left_out.swap(0, Ordering::Relaxed));
                counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                written
            }
            Message::Flush(done) => {
                // Whoever asked may have given up waiting.
                let _ = done.send(());
                continue;
            }
        };
        // Not to the log itself, which would come back here.
        match &written {
            Err(error) if !is_failing => complain(format_args!("{name} is not written: {error}")),
            Ok(()) if is_failing => complain(format_args!("{name} is written again")),
            _ => {}
        }
        is_failing = written.is_err();
    }
}

/// Says it on the standard error, which may be on the same full disk: then nobody can be told.
fn complain(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "opensandbox-gateway: {what}");
}

fn write_line(mut write: impl FnMut(&[u8]) -> io::Result<()>, line: &[u8], left_out: u64) -> io::Result<()> {
    if left_out > 0 {
        write(Gap(left_out).to_string().as_bytes())?;
    }
    write(line)
}

/// Stands where lines are missing.
struct Gap(u64);

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "WARNING  {} [-] log: {} lines were left out: they came faster than they were taken",
            super::now(),
            self.0
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_waits_is_written_at_the_end() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.log");
        let writer = LineWriter::to_file(&path, 1 << 20, 1).unwrap();
        let flush = writer.flush();
        for number in 0..100 {
            writeln!(writer.make_writer(), "{number}").unwrap();
        }
        drop(flush);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 100);
    }

    #[test]
    fn a_full_disk_stops_nothing() {
        let writer = LineWriter::to_file(Path::new("/dev/full"), 1 << 20, 1).unwrap();
        let flush = writer.flush();
        writer.make_writer().write_all(b"a\n").unwrap();
        writer.make_writer().write_all(b"b\n").unwrap();
        drop(flush);
    }

    #[test]
    fn missing_lines_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.log");
        let mut file = RotatedFile::open(&path, 1 << 20, 1).unwrap();
        write_line(|line| file.write(line), b"next\n", 3).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("WARNING  2") && text.contains("[-] log: 3 lines were left out"), "{text}");
        assert!(text.ends_with("\nnext\n"), "{text}");
    }
}
