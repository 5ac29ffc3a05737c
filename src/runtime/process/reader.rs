//! Reads of a sandbox's log file, as records.

use std::{
    fs::File,
    io,
    num::NonZeroU64,
    os::unix::fs::FileExt,
    sync::Arc,
    task::{Context, Poll, ready},
};

use memchr::{memchr_iter, memrchr};
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::ReusableBoxFuture;

use super::{
    log::{Log, Progress},
    record::MAX_RECORD,
};
use crate::logs::{
    LogError,
    backend::{RecordReader, Window},
    decode::json_file::JsonFile,
    record::Records,
};

/// How much is read at once, in bytes; room for at least one whole record.
const BLOCK: usize = 128 * 1024;
const _: () = assert!(BLOCK > MAX_RECORD);

type Step = Option<Result<Records, LogError>>;

/// A read that its consumer pulls on: one read of the file a step, and no task. Between two steps it holds no buffer.
pub(super) struct LogReader {
    /// Bytes of the file, up to the last step.
    read: u64,
    step: ReusableBoxFuture<'static, (Reader, Step)>,
}

impl LogReader {
    /// Begins at the place that `window` asks for.
    pub(super) async fn open(log: Arc<Log>, window: Window) -> io::Result<Self> {
        let progress = log.progress();
        let written = progress.borrow().written;
        let at = match window.last {
            Some(last) => {
                let log = Arc::clone(&log);
                spawn_blocking(move || find_last(&log.file, written, last)).await.map_err(io::Error::other)??
            }
            None => 0,
        };
        let end = (!window.follow).then_some(written);
        let reader = Reader { log, progress, decoder: JsonFile::default(), at, end, read: 0 };
        Ok(Self { read: 0, step: ReusableBoxFuture::new(reader.next()) })
    }
}

impl RecordReader for LogReader {
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Records, LogError>>> {
        let (reader, records) = ready!(self.step.poll(cx));
        self.read = reader.read;
        self.step.set(reader.next());
        Poll::Ready(records)
    }

    fn bytes_read(&self) -> u64 {
        self.read
    }
}

struct Reader {
    log: Arc<Log>,
    progress: watch::Receiver<Progress>,
    decoder: JsonFile,
    /// The offset of the next record.
    at: u64,
    /// Read up to here and no further; as far as the program gets when absent.
    end: Option<u64>,
    /// Bytes that were read so far.
    read: u64,
}

impl Reader {
    async fn next(mut self) -> (Self, Step) {
        let records = self.records().await;
        (self, records.transpose())
    }

    async fn records(&mut self) -> Result<Option<Records>, LogError> {
        loop {
            let Progress { written, finished } = *self.progress.borrow_and_update();
            let end = self.end.unwrap_or(written);
            if self.at < end {
                return self.read(end).await.map(Some);
            }
            // The file's only writer lives as long as the log.
            if finished || self.end.is_some() || self.progress.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Reads the whole records of one block.
    async fn read(&mut self, end: u64) -> Result<Records, LogError> {
        let length = BLOCK.min(usize::try_from(end - self.at).unwrap_or(BLOCK));
        let (log, at) = (Arc::clone(&self.log), self.at);
        let read = move || {
            let mut block = vec![0; length];
            log.file.read_exact_at(&mut block, at).map(|()| block)
        };
        let read = spawn_blocking(read).await.map_err(io::Error::other).flatten();
        let mut block = read.map_err(LogError::Disconnected)?;
        self.read += length as u64;
        let Some(last) = memrchr(b'\n', &block) else {
            return Err(LogError::Protocol("a record of the log file is too long"));
        };
        block.truncate(last + 1);
        self.at += block.len() as u64;
        self.decoder.decode(block)
    }
}

/// Where the last so many records before `end` begin, which is the end of a record. The memory is one block, whatever the number.
fn find_last(file: &File, end: u64, last: NonZeroU64) -> io::Result<u64> {
    let mut left = last.get();
    // Without the newline of the last record.
    let mut end = end.saturating_sub(1);
    let mut block = vec![0; BLOCK.min(usize::try_from(end).unwrap_or(BLOCK))];
    while end > 0 {
        let from = end.saturating_sub(BLOCK as u64);
        let bytes = &mut block[..(end - from) as usize];
        file.read_exact_at(bytes, from)?;
        for at in memchr_iter(b'\n', bytes).rev() {
            left -= 1;
            if left == 0 {
                return Ok(from + at as u64 + 1);
            }
        }
        end = from;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use proptest::prelude::*;

    use super::{super::record::encode, *};
    use crate::logs::record::Stream;

    fn record(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(Stream::Stdout, "2026-11-23T02:01:21Z", text, b"", &mut out);
        out
    }

    fn log(texts: &[Vec<u8>]) -> Arc<Log> {
        let directory = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::create(&directory.path().join("log")).unwrap());
        texts.iter().for_each(|text| log.write(&record(text)).unwrap());
        log
    }

    async fn next(reader: &mut LogReader) -> Option<Records> {
        poll_fn(|cx| reader.poll_records(cx)).await.transpose().unwrap()
    }

    async fn open(log: &Arc<Log>, last: Option<u64>, follow: bool) -> LogReader {
        LogReader::open(Arc::clone(log), Window { last: last.and_then(NonZeroU64::new), follow }).await.unwrap()
    }

    /// The texts and ordinals of all records of a window.
    async fn read(log: &Arc<Log>, last: Option<u64>) -> Vec<(Vec<u8>, u32)> {
        let (mut reader, mut all) = (open(log, last, false).await, Vec::new());
        while let Some(records) = next(&mut reader).await {
            assert!(!records.index.is_empty());
            all.extend(records.iter().map(|(record, bytes)| (bytes.to_vec(), record.place.ordinal)));
        }
        all
    }

    #[tokio::test]
    async fn a_window_has_the_last_records() {
        let texts: Vec<Vec<u8>> = (0..5_000).map(|n| format!("{n}\n").into_bytes()).collect();
        let log = log(&texts);
        for last in [1, 2, 1_500, 4_999, 5_000, 5_001, u64::MAX] {
            let read = read(&log, Some(last)).await;
            let from = texts.len().saturating_sub(usize::try_from(last).unwrap());
            let expected = texts[from..].iter().cloned().zip(0..);
            assert!(read.into_iter().eq(expected), "{last}");
        }
        assert_eq!(read(&log, None).await.len(), 5_000);
    }

    #[tokio::test]
    async fn an_empty_log_is_read() {
        let log = log(&[]);
        assert!(read(&log, None).await.is_empty() && read(&log, Some(3)).await.is_empty());
    }

    #[tokio::test]
    async fn a_follower_waits_and_ends() {
        let log = log(&[b"a\n".to_vec(), b"b\n".to_vec()]);
        let mut reader = open(&log, Some(1), true).await;
        assert_eq!(next(&mut reader).await.unwrap().index.len(), 1);
        let wait = tokio::time::timeout(Duration::from_millis(20), next(&mut reader)).await;
        assert!(wait.is_err());
        log.write(&record(b"c\n")).unwrap();
        let records = next(&mut reader).await.unwrap();
        assert_eq!((records.bytes(&records.index[0]), records.index[0].place.ordinal), (&b"c\n"[..], 1));
        log.finish();
        assert!(next(&mut reader).await.is_none());
        assert!(reader.bytes_read() > 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_window_is_the_log_s_end(
            lengths in prop::collection::vec(prop_oneof![0_usize..40, 16_000_usize..=16_384], 0..60),
            last in 1_u64..70,
        ) {
            let texts: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async { read(&log(&texts), Some(last)).await });
            let from = texts.len().saturating_sub(last as usize);
            prop_assert!(read.into_iter().map(|(text, _)| text).eq(texts[from..].iter().cloned()));
        }
    }
}
