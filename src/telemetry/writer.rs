//! Writing the log on threads of their own: a task that logs never waits for a disk, nor for the reader of the standard output.
//!
//! Not the crate tracing-appender (0.2): its queue has no bound in bytes, it drops the errors of the writer, and it writes what
//! waits only by ending. The tests here show that ours keeps these properties.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
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
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Hands lines over to the thread that writes them.
#[derive(Debug, Clone)]
pub(super) struct LineWriter {
    lines: SyncSender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Lines that were left out since the last written one.
    left_out: AtomicU64,
    /// Bytes that wait.
    waiting: AtomicUsize,
    /// The file is to be opened again before the next line.
    reopen: AtomicBool,
}

/// One destination of the log.
#[derive(Debug, Clone)]
pub struct Output {
    lines: SyncSender<Message>,
    counts: Arc<Counts>,
}

/// What lines are written to.
trait Sink: Send + 'static {
    /// Writes a line with its newline.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// Opens the same path again, where another file may be by now.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for RotatedFile {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.write(line)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.reopen()
    }
}

struct Stdout;

impl Sink for Stdout {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        io::stdout().write_all(line)
    }
}

/// The line that stands where so many are missing.
type Gap = fn(u64) -> String;

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Is answered when everything before it has been written.
    Flush(SyncSender<()>),
    /// Wakes the thread, which then looks at the counts.
    Wake,
}

impl LineWriter {
    /// Opens a file and starts its thread.
    pub(super) fn to_file(path: &Path, max_bytes: u64, backups: u32, gap: Gap) -> io::Result<Self> {
        Self::start(format!("the log file {}", path.display()), RotatedFile::open(path, max_bytes, backups)?, gap)
    }

    /// Starts the thread of the standard output. If its reader stops, lines are lost, and nothing else happens.
    pub(super) fn to_stdout(gap: Gap) -> io::Result<Self> {
        Self::start("the standard output".to_owned(), Stdout, gap)
    }

    fn start(name: String, sink: impl Sink, gap: Gap) -> io::Result<Self> {
        let (lines, waiting) = mpsc::sync_channel(MAX_LINES);
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        thread::Builder::new().name("log".to_owned()).spawn(move || run(sink, gap, &name, &waiting, &shared))?;
        Ok(Self { lines, counts })
    }

    /// The handle with which signals and the end of the program reach it.
    pub(super) fn output(&self) -> Output {
        Output { lines: self.lines.clone(), counts: Arc::clone(&self.counts) }
    }
}

impl Output {
    /// Waits until what was logged so far is written, for `FLUSH_TIMEOUT` at most: a reader or a disk may hang.
    pub fn flush(&self) {
        let due = Instant::now() + FLUSH_TIMEOUT;
        let (done, written) = mpsc::sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(returned)) = self.lines.try_send(message) {
            if Instant::now() >= due {
                return;
            }
            message = returned;
            thread::sleep(Duration::from_millis(5));
        }
        // A thread that has ended is not worth waiting for either.
        let _ = written.recv_timeout(due.saturating_duration_since(Instant::now()));
    }

    /// Lets the file be opened again by its name, after another program has renamed it. Does not wait: the next lines may still
    /// go to the old file if others wait before them.
    pub fn reopen(&self) {
        self.counts.reopen.store(true, Ordering::Relaxed);
        // If the queue is full, the next of its lines wakes the thread as well.
        let _ = self.lines.try_send(Message::Wake);
    }
}

impl MakeWriter<'_> for LineWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for LineWriter {
    /// The subscriber writes a whole line at once. Never fails: a log that cannot be written must not stop anything.
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

fn run(mut sink: impl Sink, gap: Gap, name: &str, waiting: &Receiver<Message>, counts: &Counts) {
    let mut is_failing = false;
    while let Ok(message) = waiting.recv() {
        if counts.reopen.swap(false, Ordering::Relaxed)
            && let Err(error) = sink.reopen()
        {
            complain(format_args!("{name} cannot be opened again, the old one is written on: {error}"));
        }
        let written = match message {
            Message::Line(line) => {
                let written = write_line(&mut sink, gap, &line, counts.left_out.swap(0, Ordering::Relaxed));
                counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                written
            }
            Message::Flush(done) => {
                // The receiver is gone if its wait timed out.
                let _ = done.send(());
                continue;
            }
            Message::Wake => continue,
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

/// Writes to the standard error. It may be on the same full disk, so its errors are ignored.
fn complain(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "opensandbox-gateway: {what}");
}

fn write_line(sink: &mut impl Sink, gap: Gap, line: &[u8], left_out: u64) -> io::Result<()> {
    if left_out > 0 {
        sink.write(gap(left_out).as_bytes())?;
    }
    sink.write(line)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::text::gap, *};

    #[test]
    fn what_waits_is_written_at_the_end() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.log");
        let writer = LineWriter::to_file(&path, 1 << 20, 1, gap).unwrap();
        let output = writer.output();
        for number in 0..100 {
            writeln!(writer.make_writer(), "{number}").unwrap();
        }
        output.flush();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 100);
    }

    #[test]
    fn a_full_disk_stops_nothing() {
        let writer = LineWriter::to_file(Path::new("/dev/full"), 1 << 20, 1, gap).unwrap();
        let output = writer.output();
        writer.make_writer().write_all(b"a\n").unwrap();
        writer.make_writer().write_all(b"b\n").unwrap();
        output.flush();
    }

    #[test]
    fn what_waits_for_a_reader_that_has_stopped_is_bounded_in_bytes_and_the_rest_counted() {
        use rustix::fs::{CWD, Mode, mkfifoat};
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.log");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let _reader = fs::File::options().read(true).write(true).open(&path).unwrap();
        let writer = LineWriter::to_file(&path, 1 << 20, 1, gap).unwrap();
        let line = [b'x'; 128 * 1024];
        // Far fewer than `MAX_LINES`.
        for _ in 0..2 * MAX_BYTES / line.len() {
            writer.make_writer().write_all(&line).unwrap();
        }
        let Counts { left_out, waiting, .. } = &*writer.counts;
        assert!(waiting.load(Ordering::Relaxed) <= MAX_BYTES);
        assert!(left_out.load(Ordering::Relaxed) >= (MAX_BYTES / line.len()) as u64);
    }

    #[test]
    fn missing_lines_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.log");
        let mut file = RotatedFile::open(&path, 1 << 20, 1).unwrap();
        write_line(&mut file, gap, b"next\n", 3).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("WARNING  2") && text.contains("[-] log: 3 lines were left out"), "{text}");
        assert!(text.ends_with("\nnext\n"), "{text}");
    }

    #[test]
    fn a_file_that_was_renamed_is_opened_anew_when_it_is_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let (path, old) = (home.path().join("x.log"), home.path().join("old.log"));
        let writer = LineWriter::to_file(&path, 1 << 20, 1, gap).unwrap();
        let output = writer.output();
        let say = |text: &str| {
            writeln!(writer.make_writer(), "{text}").unwrap();
            output.flush();
        };
        say("a");
        fs::rename(&path, &old).unwrap();
        say("b");
        output.reopen();
        say("c");
        assert_eq!(
            (fs::read_to_string(&old).unwrap(), fs::read_to_string(&path).unwrap()),
            ("a\nb\n".into(), "c\n".into())
        );
        // The place is taken by something that is no file: the one that is open is written on.
        fs::rename(&path, &old).unwrap();
        fs::create_dir(&path).unwrap();
        output.reopen();
        say("d");
        assert_eq!(fs::read_to_string(&old).unwrap(), "c\nd\n");
    }
}
