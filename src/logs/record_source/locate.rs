//! Finding a place in a log from its end.

use std::num::NonZeroU64;

use super::{
    Machine, from,
    known::{Known, MARGIN},
    next_records,
};
use crate::{
    error::Error,
    logs::{
        backend::{RecordReader, Window},
        record::{Mark, Record, Records},
    },
};

/// How many records are looked at first, and then: such a window is read whole. An engine gives as many in some milliseconds.
pub(super) const SMALL: [u64; 2] = [256, 4096];

/// How many records are looked at after that; then all there are.
const LARGE: [u64; 2] = [1 << 16, 1 << 20];

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// What comes behind this record.
    Mark(Mark),
    /// This record and what comes behind it, among that this mark.
    From { first: Mark, mark: Mark },
    /// All records of this time and later, and perhaps some before.
    Time(i64),
}

/// What was found.
pub(super) enum Located {
    /// These, and nothing behind them yet.
    Held(Vec<Records>),
    /// These, and what the reader gives.
    Reading { first: Records, reader: Box<dyn RecordReader> },
    /// The record is not there.
    Lost {
        /// All that is there is later.
        is_rotated: bool,
        /// Gives all of it.
        reader: Box<dyn RecordReader>,
    },
}

/// What one window tells of a target.
enum Found {
    /// What is asked for begins at this record of the latest batch.
    At(usize),
    /// It is not in the window, or cannot be told from others there.
    Beyond,
}

/// Looks for a target in one window.
struct Search {
    target: Target,
    known: Known,
    /// How many records are the mark but for their number.
    alike: u64,
    first_time: Option<i64>,
}

impl Search {
    fn new(target: Target, is_whole: bool) -> Self {
        Self { target, known: Known::new(is_whole), alike: 0, first_time: None }
    }

    /// Looks in the next records of the window.
    fn look(&mut self, records: &Records) -> Option<Found> {
        for (at, (record, bytes)) in records.iter().enumerate() {
            self.first_time.get_or_insert(record.place.time);
            let is_known = self.known.is_known(record);
            match self.target {
                Target::Mark(mark) => {
                    if is_known && mark.is(record, bytes) {
                        return Some(Found::At(at + 1));
                    }
                    self.alike += u64::from(mark.is_like(record, bytes));
                }
                Target::From { first, .. } => {
                    if is_known && first.is(record, bytes) {
                        return Some(Found::At(at));
                    }
                    self.alike += u64::from(first.is_like(record, bytes));
                }
                Target::Time(time) => {
                    if is_known {
                        return Some(if self.known.is_all() || self.known.is_behind(time) {
                            Found::At(at)
                        } else {
                            Found::Beyond
                        });
                    }
                }
            }
        }
        None
    }
}

impl Machine {
    /// Looks for `target`.
    pub(super) async fn locate(&mut self, target: Target) -> Result<Located, Error> {
        self.found_run = None;
        // The first size for whose records there was no room.
        let mut refused = None;
        for (turn, last) in SMALL.map(NonZeroU64::new).into_iter().enumerate() {
            // It is not near the end: what came since its time is less than all that may be in front of it.
            if turn == 1
                && let Some(located) = self.look_since(target).await?
            {
                return Ok(located);
            }
            let Some(held) = self.window(last).await? else {
                refused = last;
                break;
            };
            let count: usize = held.iter().map(|records| records.index.len()).sum();
            if let Some(found) = self.find(&held, target, false) {
                return Ok(found);
            }
            // There are no more, or the log is damaged and an engine that reads it from its end does not get further.
            if last.is_none_or(|last| (count as u64) < last.get()) {
                let Some(held) = self.window(None).await? else { break };
                self.is_small = true;
                if let Some(found) = self.find(&held, target, true) {
                    return Ok(found);
                }
                if let Some(found) = self.find_rest(&held, target) {
                    return Ok(found);
                }
                let first = held.iter().find_map(|records| records.index.first());
                return self.lost(first.is_none_or(|first| first.place.time > target.time())).await;
            }
        }
        let small = SMALL.into_iter().filter(|size| refused.is_some_and(|refused| *size >= refused.get()));
        for last in small.chain(LARGE).map(NonZeroU64::new).chain([None]) {
            let located = self.look_through(target, last).await?;
            if let (Some(Located::Lost { .. }), Target::Mark(mark)) = (&located, target)
                && let Some(located) = self.look_for_rest(mark).await?
            {
                return Ok(located);
            }
            if let Some(located) = located {
                return Ok(located);
            }
        }
        self.lost(false).await
    }

    async fn lost(&mut self, is_rotated: bool) -> Result<Located, Error> {
        let reader = self.backend.read(Window { last: None, follow: false }).await?;
        Ok(Located::Lost { is_rotated, reader })
    }

    /// What of a window is asked for, if it is there for sure.
    fn find(&mut self, held: &[Records], target: Target, is_whole: bool) -> Option<Located> {
        let mut search = Search::new(target, is_whole);
        for (batch, records) in held.iter().enumerate() {
            let at = match search.look(records) {
                Some(Found::At(at)) => at,
                Some(Found::Beyond) => return None,
                None => continue,
            };
            if let Target::From { mark, .. } = target {
                let mut mark = Search { target: Target::Mark(mark), ..search };
                let rest = std::iter::once(from(records.clone(), at)).chain(held[batch + 1..].iter().cloned());
                let is_there = rest.into_iter().any(|records| mark.look(&records).is_some());
                return is_there.then(|| Located::Held(rest_of(held, batch, at)));
            }
            if let Target::Time(_) = target {
                self.known = Some(search.known);
            }
            self.found_run = records.run;
            return Some(Located::Held(rest_of(held, batch, at)));
        }
        let wanted = match target {
            Target::Mark(mark) | Target::From { first: mark, .. } => mark,
            Target::Time(_) => return is_whole.then(|| Located::Held(Vec::new())),
        };
        // Its number was told of a window in which it could not be known.
        let is_it = |(record, bytes): (&Record, &[u8])| wanted.is_like(record, bytes);
        let only = held.iter().enumerate().filter(|_| is_whole && search.alike == 1);
        let mut found = only.filter_map(|(batch, records)| Some((batch, records.iter().position(is_it)?)));
        let (batch, at) = found.next()?;
        if let Target::From { mark, .. } = target {
            let rest = rest_of(held, batch, at);
            let is_there = rest.iter().flat_map(Records::iter).any(|(record, bytes)| mark.is(record, bytes));
            return is_there.then_some(Located::Held(rest));
        }
        // The mark is this record's from now on.
        self.note_at(&held[batch], at);
        Some(Located::Held(rest_of(held, batch, at + 1)))
    }

    /// What comes behind the mark in all that there is, if that begins within the mark's line.
    fn find_rest(&mut self, held: &[Records], target: Target) -> Option<Located> {
        let Target::Mark(mark) = target else { return None };
        let mut rest = self.pieces.rest(mark)?;
        let mut look = |records: &Records| records.iter().position(|(record, bytes)| rest.is(record, bytes));
        let (batch, at) = held.iter().enumerate().find_map(|(batch, records)| Some((batch, look(records)?)))?;
        self.found_rest(mark, &held[batch], at);
        Some(Located::Held(rest_of(held, batch, at + 1)))
    }

    /// The same in a read of all that there is, which is too much to hold.
    async fn look_for_rest(&mut self, mark: Mark) -> Result<Option<Located>, Error> {
        let pieces = self.pieces.clone();
        let Some(mut rest) = pieces.rest(mark) else { return Ok(None) };
        let mut reader = self.backend.read(Window { last: None, follow: false }).await?;
        while rest.is_sought()
            && let Some(records) = next_records(reader.as_mut()).await?
        {
            let at = records.iter().position(|(record, bytes)| rest.is(record, bytes));
            if let Some(at) = at {
                self.found_rest(mark, &records, at);
                return Ok(Some(Located::Reading { first: from(records, at + 1), reader }));
            }
        }
        self.read += reader.bytes_read();
        Ok(None)
    }

    /// The mark is this record's from now on, whose time is not its line's.
    fn found_rest(&mut self, mark: Mark, records: &Records, at: usize) {
        self.note_at(records, at);
        if self.pieces.is_open() {
            self.joined.get_or_insert(mark.place.time);
        }
    }

    /// Looks for `target` among what came since its time, if the backend can give that.
    async fn look_since(&mut self, target: Target) -> Result<Option<Located>, Error> {
        let Some(mut reader) = self.backend.read_since(target.time()).await? else { return Ok(None) };
        // All of its time is there: numbers in it count from its first record on.
        let mut search = Search::new(target, true);
        while let Some(records) = next_records(reader.as_mut()).await? {
            if let Some(Found::At(at)) = search.look(&records) {
                self.found_run = records.run;
                return Ok(Some(Located::Reading { first: from(records, at), reader }));
            }
        }
        self.read += reader.bytes_read();
        Ok(None)
    }

    /// Looks for `target` in the `last` records, without keeping them.
    async fn look_through(&mut self, target: Target, last: Option<NonZeroU64>) -> Result<Option<Located>, Error> {
        let mut reader = self.backend.read(Window { last, follow: false }).await?;
        let mut search = Search::new(target, last.is_none());
        while let Some(records) = next_records(reader.as_mut()).await? {
            let found = search.look(&records);
            let is_rotated = last.is_none()
                && !matches!(target, Target::Time(_))
                && search.first_time.is_some_and(|first| first > target.time().saturating_add(MARGIN));
            match found {
                Some(Found::At(_)) if matches!(target, Target::From { .. }) && !search.known.is_all() => break,
                Some(Found::At(at)) => {
                    if let Target::Time(_) = target {
                        self.known = Some(search.known);
                    }
                    self.found_run = records.run;
                    return Ok(Some(Located::Reading { first: from(records, at), reader }));
                }
                Some(Found::Beyond) => break,
                None if is_rotated => return self.lost(true).await.map(Some),
                None if search.known.is_ahead_of(target.time()) => break,
                None => {}
            }
        }
        self.read += reader.bytes_read();
        if last.is_some() {
            return Ok(None);
        }
        match target {
            // An empty log.
            Target::Time(_) => Ok(Some(Located::Held(Vec::new()))),
            Target::Mark(mark) if search.alike == 1 => self.look_alike(mark).await,
            Target::Mark(_) | Target::From { .. } => {
                self.lost(search.first_time.is_none_or(|first| first > target.time())).await.map(Some)
            }
        }
    }

    /// The last record that was seen is this.
    fn note_at(&mut self, records: &Records, at: usize) {
        let record = &records.index[at];
        self.found_run = records.run;
        self.last = Some(Mark::of(record, records.bytes(record)));
        self.places[record.stream.index()] = Some(record.place);
    }

    /// Finds the only record that is the mark but for its number.
    async fn look_alike(&mut self, mark: Mark) -> Result<Option<Located>, Error> {
        let mut reader = self.backend.read(Window { last: None, follow: false }).await?;
        while let Some(records) = next_records(reader.as_mut()).await? {
            let at = records.iter().position(|(record, bytes)| mark.is_like(record, bytes));
            if let Some(at) = at {
                self.note_at(&records, at);
                return Ok(Some(Located::Reading { first: from(records, at + 1), reader }));
            }
        }
        Ok(None)
    }

    /// Reads the `last` records, or all; none if they are too much to hold.
    async fn window(&mut self, last: Option<NonZeroU64>) -> Result<Option<Vec<Records>>, Error> {
        let mut reader = self.backend.read(Window { last, follow: false }).await?;
        let mut held = Some(Vec::new());
        self.share.clear();
        while let Some(records) = next_records(reader.as_mut()).await? {
            held = held.filter(|_| self.share.grow(&records));
            let Some(held) = &mut held else { break };
            held.push(records);
        }
        self.read += reader.bytes_read();
        if held.is_none() {
            self.share.clear();
        }
        Ok(held)
    }
}

impl Target {
    fn time(self) -> i64 {
        match self {
            Self::Mark(Mark { place, .. }) | Self::From { first: Mark { place, .. }, .. } => place.time,
            Self::Time(time) => time,
        }
    }
}

/// What is held from a record of a batch on.
fn rest_of(held: &[Records], batch: usize, at: usize) -> Vec<Records> {
    let mut rest = held[batch..].to_vec();
    if let Some(first) = rest.first_mut() {
        *first = from(std::mem::take(first), at);
    }
    rest
}
