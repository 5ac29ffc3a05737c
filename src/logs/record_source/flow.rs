//! How a log's records flow: read, known ones left out, and handed out as pieces of one run or the next.

use std::{
    future::{pending, poll_fn},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    Machine, Step, from,
    pieces::join,
    watch::{Seen, watch},
};
use crate::logs::{
    LogError,
    backend::Start,
    piece::{End, Piece, Reason},
    record::{Mark, Records},
};

/// A live read that was not polled for so long is not gone on with: an engine whose reader waits skips what is rotated meanwhile,
/// without a word.
const UNREAD: Duration = Duration::from_secs(3);

/// What a read gave.
enum Read {
    Records(Records),
    Ended,
    Failed(LogError),
    /// It is live, and has fallen silent: this is the last record of the log.
    Silent(Option<Mark>),
    Deadline,
    NoReader,
}

impl Machine {
    /// The next piece, and the machine back.
    pub(super) async fn step(mut self: Box<Self>) -> (Box<Self>, Step) {
        self.stalled += self.handed_at.elapsed();
        let step = self.next().await;
        self.handed_at = Instant::now();
        (self, step)
    }

    async fn next(&mut self) -> Step {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            self.share.clear();
            if self.is_ended {
                return Ok(None);
            }
            let is_unread = self.is_caught_up && self.handed_at.elapsed() >= UNREAD
                || self.backend.may_break_off() && self.stalled >= UNREAD;
            if is_unread && self.is_live && self.last.is_some() {
                self.drop_reader();
                self.may_be_restarted = true;
                (self.handed_at, self.stalled) = (Instant::now(), Duration::ZERO);
            }
            match self.read_on().await {
                Read::Records(records) => {
                    self.lost = None;
                    self.is_caught_up |= self.is_of_now(&records);
                    match self.repeated(&records) {
                        None => self.take_but_the_end(records),
                        Some(at) => {
                            self.take(Records { index: records.index[..at].to_vec(), ..records });
                            self.leave_repeating().await;
                        }
                    }
                }
                Read::NoReader => Box::pin(self.open_next()).await?,
                Read::Ended => Box::pin(self.reader_ended(None)).await?,
                Read::Silent(newest) => {
                    self.looked = newest;
                    Box::pin(self.reader_ended(None)).await?;
                }
                Read::Deadline => self.end(End::of(Reason::Until)),
                Read::Failed(error @ (LogError::Disconnected(_) | LogError::Refused(_) | LogError::Interrupted(_))) => {
                    Box::pin(self.reader_ended(Some(error))).await?
                }
                // What is between may send what it likes, once.
                Read::Failed(error @ LogError::Protocol(_)) if self.follow && self.backend.may_break_off() => {
                    Box::pin(self.reader_ended(Some(error))).await?;
                }
                Read::Failed(error) => return Err(error),
            }
        }
    }

    async fn read_on(&mut self) -> Read {
        let Some(reader) = &mut self.reader else { return Read::NoReader };
        let (is_caught_up, stalled) = (&mut self.is_caught_up, &mut self.stalled);
        let mut read = poll_fn(|cx| {
            let polled = reader.poll_records(cx);
            if polled.is_pending() {
                (*is_caught_up, *stalled) = (true, Duration::ZERO);
            }
            polled
        });
        let read = if self.is_live {
            let silence = self.backend.silence();
            let seen = Seen { last: self.last, started: self.next_run.or(self.started), known: self.looked };
            let watched = async {
                let Some(silence) = silence else { return pending().await };
                // Who is not silent has no room for it.
                Box::pin(watch(Arc::clone(&self.backend), seen, silence)).await
            };
            let deadline = async {
                let Some(deadline) = self.deadline else { return pending().await };
                sleep_until(deadline).await;
            };
            tokio::select! {
                biased;
                read = &mut read => read,
                () = deadline => return Read::Deadline,
                newest = watched => return Read::Silent(newest),
            }
        } else {
            read.await
        };
        match read {
            Some(Ok(records)) => Read::Records(records),
            Some(Err(error)) => Read::Failed(error),
            None => Read::Ended,
        }
    }

    /// Takes records that come next in the log. If the read may be cut, a last one without a newline is kept until more comes,
    /// or the log's end: it may be half of one.
    fn take_but_the_end(&mut self, mut records: Records) {
        if let Some(held) = self.held_back.take() {
            self.take(held);
            if self.reader.is_none() {
                // It was the last one of what was counted.
                return;
            }
        }
        let cut = records.index.last().copied().filter(|last| !records.bytes(last).ends_with(b"\n"));
        if self.backend.may_break_off()
            && !self.is_live
            && let Some(last) = cut
        {
            records.index.pop();
            self.held_back = Some(Records { buf: records.buf.clone(), index: vec![last], run: records.run });
        }
        if !records.index.is_empty() {
            self.take(records);
        }
    }

    /// Takes records that come next in the log.
    pub(super) fn take(&mut self, mut records: Records) {
        if let Some(known) = &mut self.known {
            records.index.retain(|record| known.is_known(record));
            if known.is_all() {
                self.known = None;
            }
        }
        let stop = self.stop_at.and_then(|mark| records.iter().position(|(record, bytes)| mark.is(record, bytes)));
        if let Some(at) = stop {
            records.index.truncate(at + 1);
            self.stop_at = None;
            self.drop_reader();
        }
        if self.numbers.iter().any(Option::is_some) {
            self.number(&mut records);
        }
        self.note(&records);
        if let (Some(time), Some(mark)) = (self.joined, self.last)
            && !join(&mut records, mark.stream, time)
        {
            self.joined = None;
        }
        let records = match self.until_mark {
            Some((mark, is_part)) => self.only_other(&records, mark, is_part),
            None => records,
        };
        self.hand(records);
    }

    /// Counts on where a time goes on that had records before.
    fn number(&mut self, records: &mut Records) {
        for record in &mut records.index {
            let next = &mut self.numbers[record.stream.index()];
            let Some(place) = next else { continue };
            if place.time == record.place.time {
                record.place = *place;
                place.ordinal = place.ordinal.saturating_add(1);
            } else {
                *next = None;
            }
        }
    }

    /// Notes how far the log was seen.
    fn note(&mut self, records: &Records) {
        let Some(last) = records.index.last() else { return };
        self.last = Some(Mark::of(last, records.bytes(last)));
        if self.backend.may_break_off() {
            self.pieces.note(records);
        }
        self.places[last.stream.index()] = Some(last.place);
        if let Some(other) = records.index.iter().rev().find(|record| record.stream != last.stream) {
            self.places[other.stream.index()] = Some(other.place);
        }
    }

    /// Leaves out the stream of `mark` up to that.
    fn only_other(&mut self, records: &Records, mark: Mark, is_part: bool) -> Records {
        let &Records { ref buf, ref index, run } = records;
        let end = records.iter().position(|(record, bytes)| mark.is(record, bytes));
        let (seen, rest) = index.split_at(end.map_or(index.len(), |end| end + 1));
        let seen = seen.iter().filter(|record| record.stream != mark.stream).copied().collect();
        self.hand(Records { buf: buf.clone(), index: seen, run });
        if end.is_some() {
            self.until_mark = None;
            self.ready.push_back(Piece::Seen { mark, is_part });
        }
        Records { buf: buf.clone(), index: rest.to_vec(), run }
    }

    /// Makes pieces of records, in front of the next run's and behind.
    pub(super) fn hand(&mut self, records: Records) {
        self.begin_untold(&records);
        if self.is_ended {
            return;
        }
        let Some(started) = self.next_run else { return self.hand_run(records) };
        let at = match (records.run, started.run) {
            (Some(run), Some(next)) => (run == next).then_some(0),
            _ => {
                let first_time = started.first_time();
                records.index.iter().position(|record| record.place.time >= first_time)
            }
        };
        let Some(at) = at else { return self.hand_run(records) };
        let rest = from(records.clone(), at);
        self.hand_run(Records { index: records.index[..at].to_vec(), ..records });
        self.begin_run(started);
        if !self.is_ended {
            self.hand_run(rest);
        }
    }

    /// Begins the run of these records, if it is a later one than the present and not that which was told to be the next.
    fn begin_untold(&mut self, records: &Records) {
        let is_next = |run| self.next_run.is_some_and(|next| next.run == Some(run));
        let Some(run) = records.run.filter(|run| run.is_later_than(self.run) && !is_next(*run)) else { return };
        let Some(first) = records.index.first() else { return };
        let at = first.place.time;
        let next = (self.next_run, self.is_run_over);
        self.begin_run(Start { at, previous_end: Some(at), run: Some(run), begins_log: false });
        // A run that printed nothing may have been passed over.
        if next.0.and_then(|next| next.run).is_some_and(|next| next.is_later_than(run)) {
            (self.next_run, self.is_run_over) = next;
        }
    }

    /// What comes from now on is the run's that was started then.
    pub(super) fn begin_run(&mut self, started: Start) {
        self.next_run = None;
        (self.is_run_over, self.is_rest_lost, self.is_whole) = (false, false, false);
        self.may_end_early = self.backend.may_end_early();
        let is_the_present_one = self.started.is_some_and(|present| present.is_same(started));
        // Who comes back behind a run that is long over is given all that there is since.
        let is_before_it = self.started.and_then(|present| present.run).zip(started.run);
        let is_before_it = is_before_it.is_some_and(|(present, run)| present.is_later_than(run));
        if is_the_present_one || is_before_it || self.restarts {
            if !is_before_it {
                self.started = Some(started);
            }
            self.run = started.run.unwrap_or(self.run);
            self.backend.has_begun(self.run);
            self.ready.push_back(Piece::Restart { started_at: started.at, run: self.run });
        } else {
            self.end(End::of(Reason::Restarted));
        }
    }

    fn hand_run(&mut self, records: Records) {
        if !records.index.is_empty() {
            self.ready.push_back(Piece::Records(records));
        }
    }
}
