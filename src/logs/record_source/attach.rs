//! A live read that is begun behind the last record that was seen.

use std::{future::poll_fn, num::NonZeroU64, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{FIRST_ATTACH, LIVE_POLL, Machine, from, known::Known};
use crate::{
    backoff::spread,
    error::Error,
    logs::{
        LogError,
        backend::{RecordReader, Window},
        record::{Mark, Records},
    },
};

/// From so many on, the whole log is read.
const MAX_ATTACH: u64 = 1 << 24;

/// How long a live read may take to find the last record at first. Those are there already.
pub(super) const ATTACH_TIMEOUT: Duration = Duration::from_secs(2);

/// And at last: a backend that was too slow is given twice the time.
const LONGEST_ATTACH: Duration = Duration::from_secs(60);

impl Machine {
    /// Opens a live read behind the last record that was seen. If that is not found at once, what came since is read first. Says
    /// whether there may be something to follow: a live read of what has ended may leave out a last line that has no end.
    pub(super) async fn attach(&mut self) -> Result<bool, Error> {
        self.attached_at = Instant::now();
        self.is_caught_up = false;
        if self.may_be_restarted {
            if let Some(is_to_follow) = self.look_for_restart().await? {
                return Ok(is_to_follow);
            }
            self.may_be_restarted = false;
        }
        let Some(mark) = self.last else {
            self.reader = Some(self.backend.read(Window { last: None, follow: true }).await?);
            self.is_live = true;
            return Ok(true);
        };
        // A log of which so many records are asked for is read from its beginning.
        let last = NonZeroU64::new(self.attach_records).filter(|last| last.get() < MAX_ATTACH);
        let mut reader = self.backend.read(Window { last, follow: true }).await?;
        // Among all there are, it takes as long as they are read.
        let limit = if last.is_some() { self.attach_time } else { LONGEST_ATTACH };
        match timeout(limit, find(reader.as_mut(), mark, last)).await {
            Ok(Ok(Attached::Behind(rest))) if self.is_present(rest.run) => {
                self.reader = Some(reader);
                self.is_live = true;
                (self.attach_records, self.attach_time) = (FIRST_ATTACH, ATTACH_TIMEOUT);
                self.lost = None;
                self.go_on_behind(mark);
                self.take(rest);
                Ok(true)
            }
            // It has the log, and cannot go on with it: what came behind the mark is read without.
            Ok(Err(LogError::Interrupted(text))) => {
                tracing::debug!(text, "a log cannot be followed");
                drop(reader);
                sleep(spread(LIVE_POLL)).await;
                self.catch_up(mark, true).await?;
                self.lost = None;
                Ok(true)
            }
            Ok(Err(error)) => Err(error.into_error()),
            // Not among so many, or it has ended meanwhile.
            found => {
                self.may_be_restarted = true;
                self.read += reader.bytes_read();
                drop(reader);
                if self.backend.may_break_off()
                    && let Some(is_to_follow) = self.look_for_restart().await?
                {
                    return Ok(is_to_follow);
                }
                self.is_small = false;
                self.catch_up(mark, true).await?;
                self.attach_records = match found {
                    Ok(Ok(Attached::Unknown)) if self.is_small => MAX_ATTACH,
                    // A backend that is slow is not asked for more.
                    Err(_) if last.is_some() => {
                        self.attach_time = self.attach_time.saturating_mul(2).min(LONGEST_ATTACH);
                        self.attach_records
                    }
                    Ok(Ok(Attached::Behind(_))) => self.attach_records,
                    _ => self.attach_records.saturating_mul(16).min(MAX_ATTACH),
                };
                Ok(true)
            }
        }
    }
}

/// Where a live read is.
enum Attached {
    /// Behind the mark, with what came with it.
    Behind(Records),
    /// The mark is there, or one like it.
    Unknown,
    /// It is not.
    Absent,
}

/// Reads up to `mark`, over at most `most` records.
async fn find(reader: &mut dyn RecordReader, mark: Mark, most: Option<NonZeroU64>) -> Result<Attached, LogError> {
    let (mut known, mut seen) = (Known::new(most.is_none()), 0);
    while most.is_none_or(|most| seen < most.get()) {
        let Some(records) = poll_fn(|cx| reader.poll_records(cx)).await.transpose()? else { break };
        let found = records.iter().enumerate().find_map(|(at, (record, bytes))| {
            let is_known = known.is_known(record);
            let is_it = if is_known { mark.is(record, bytes) } else { mark.is_like(record, bytes) };
            is_it.then_some((at, is_known))
        });
        match found {
            Some((at, true)) => return Ok(Attached::Behind(from(records, at + 1))),
            Some((_, false)) => return Ok(Attached::Unknown),
            None => {}
        }
        if known.is_ahead_of(mark.place.time) {
            break;
        }
        seen += records.index.len() as u64;
    }
    Ok(Attached::Absent)
}
