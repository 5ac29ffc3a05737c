//! Where a stream begins, and where it goes on behind a record that was seen.

use std::{io, sync::Arc};

use tokio::time::sleep;

use super::{
    GONE_GRACE, Machine, from, is_gone,
    late::LateRun,
    locate::{Located, Target},
    next_records,
    pieces::Pieces,
};
use crate::{
    error::{Error, Kind},
    logs::{
        LogError, LogQuery,
        backend::{RecordReader, State, Window},
        cursor::Cursor,
        piece::{Begin, GapReason, Piece},
        record::{Mark, Place},
        select::Select,
    },
};

impl Machine {
    /// Begins as [`Self::begin`] does; once more if a connection broke off meanwhile that may be cut by what is between. A log that
    /// is gone for good is asked for once more too for who follows or comes back; without it goes on as
    /// [`Self::begin_without`] does.
    pub(super) async fn begun(mut self: Box<Self>, query: &LogQuery, state: State) -> (Box<Self>, Result<(), Error>) {
        let (mut was_broken, mut was_gone) = (false, false);
        loop {
            match self.begin(query).await {
                Err(error) if !was_broken && self.backend.may_break_off() && is_broken_off(&error) => was_broken = true,
                Err(error) if is_gone(&error) && (self.follow || query.after.is_some()) => {
                    if was_gone {
                        self.begin_without(query.after);
                        return (self, Ok(()));
                    }
                    was_gone = true;
                    sleep(GONE_GRACE.min(self.reconnect)).await;
                }
                begun => return (self, begun),
            }
            let mut again = Box::new(Self::new(Arc::clone(&self.backend), query, state, self.reconnect));
            again.read = self.bytes_read();
            self = again;
        }
    }

    /// Goes on as `begun` tells. A backend that could not be asked is tried again: who was answered already is told nothing of it,
    /// as of a backend that is lost later.
    pub(super) async fn begun_at_last(
        mut self: Box<Self>,
        query: &LogQuery,
        state: State,
        mut begun: Result<(), Error>,
    ) -> (Box<Self>, Result<(), LogError>) {
        while let Err(error) = &begun {
            let is_lost = matches!(error.kind, Kind::Unavailable | Kind::TimedOut | Kind::Overloaded);
            if is_gone(error) {
                if self.is_gone_for_good() {
                    self.begin_without(query.after);
                    self.lost = None;
                    return (self, Ok(()));
                }
                // The state is not asked: it may name another log, of which nothing was asked for.
                self.pause_or_give_up().await;
            } else if !is_lost || !self.backend.may_break_off() {
                let failed = LogError::Backend(error.to_string());
                return (self, Err(failed));
            } else if let Err(failed) = self.refused(error).await {
                return (self, Err(failed));
            }
            if self.is_ended {
                return (self, Ok(()));
            }
            let mut again = Box::new(Self::new(Arc::clone(&self.backend), query, state, self.reconnect));
            (again.read, again.lost, again.pauses) = (self.bytes_read(), self.lost, self.pauses);
            (again.waited, again.gone) = (self.waited, self.gone);
            again.may_be_restarted = true;
            self = again;
            begun = self.begin(query).await;
        }
        self.lost = None;
        (self, Ok(()))
    }

    /// There is no log to begin in: who follows waits for another one in its place, and is told of the gap then, unless there was
    /// one in front of this log. Who does not has the end alone, behind a gap.
    fn begin_without(&mut self, after: Option<Cursor>) {
        self.may_be_restarted |= self.follow;
        match after {
            Some(after) if !self.follow || after.run != self.run => {
                self.gap(GapReason::CursorExpired, after.mark.map(|mark| mark.place.time), None);
            }
            None if !self.follow => self.gap(GapReason::Rotated, None, None),
            Some(_) | None => {}
        }
    }

    /// Finds where `query` begins, and opens the log there.
    async fn begin(&mut self, query: &LogQuery) -> Result<(), Error> {
        let select = Select::new(query);
        if let Some(after) = query.after {
            return self.resume(after).await;
        }
        if let Some(lines) = query.tail {
            return self.begin_tail(lines, &select).await;
        }
        if let Some(since) = select.since() {
            let located = self.locate(Target::Time(since)).await?;
            self.go_on_with(located);
            return Ok(());
        }
        self.reader = Some(self.backend.read(Window { last: None, follow: self.follow }).await?);
        self.is_live = self.follow;
        Ok(())
    }

    /// Goes on behind a client's last record.
    pub(super) async fn resume(&mut self, after: Cursor) -> Result<(), Error> {
        let Some(mark) = after.mark else {
            // Nothing was seen: all of it is new, if it is still the same run.
            self.reader = Some(self.backend.read(Window { last: None, follow: self.follow }).await?);
            if after.run != self.backend.run() {
                self.gap(GapReason::CursorExpired, None, None);
            }
            self.is_live = self.follow;
            return Ok(());
        };
        if after.run != self.backend.run() {
            let reader = self.backend.read(Window { last: None, follow: false }).await?;
            return self.lost_mark(GapReason::CursorExpired, mark, reader, false).await;
        }
        // Nothing that was printed is older than the first run.
        let restarted = self.started.filter(|started| started.previous_end.is_some());
        self.next_run = restarted.filter(|started| match started.run {
            Some(run) => run != after.run,
            None => mark.place.time < started.first_time(),
        });
        let mut begin = Begin { left_out: after.left_out, ..Begin::default() };
        begin.in_line[mark.stream.index()] = after.in_line.then_some(mark.place.time);
        if let Some(other) = after.other.filter(|other| other.is_seen) {
            begin.in_line[mark.stream.other().index()] = Some(other.place.time);
        } else if let Some(other) = after.other {
            let stream = mark.stream.other();
            let first = Mark { stream, place: other.place, sum: other.sum };
            let target = Target::From { first, mark };
            let located = self.locate(target).await?;
            if !matches!(located, Located::Lost { .. }) {
                begin.in_line[stream.index()] = other.in_line.then_some(other.place.time);
                self.ready.push_back(Piece::Begin(begin));
                self.until_mark = Some((mark, after.in_line));
                self.numbers[stream.index()] = Some(other.place);
                self.go_on_with(located);
                return Ok(());
            }
            begin.fragment[stream.index()] = true;
        }
        self.ready.push_back(Piece::Begin(begin));
        self.catch_up(mark, false).await
    }

    /// Reads what came behind `mark`, which was seen, or tells that it is gone.
    pub(super) async fn catch_up(&mut self, mark: Mark, was_live: bool) -> Result<(), Error> {
        self.last = Some(mark);
        let located = self.locate(Target::Mark(mark)).await?;
        // It is not there, or the backend takes it for one of a run before its own: another run may have begun of which it has not
        // told yet.
        if matches!(located, Located::Lost { .. }) || !self.is_present(self.found_run) {
            match self.late_run(was_live).await? {
                LateRun::No => {}
                LateRun::Left => return Ok(()),
                LateRun::Next => {
                    drop(located);
                    return Box::pin(self.catch_up(mark, was_live)).await;
                }
            }
        }
        match self.look_for_run_in_rest().await {
            // Who begins is told of what was found: the state was asked before, and the next look is a request of its own.
            Err(_) if !was_live => {}
            looked => looked?,
        }
        match located {
            Located::Lost { is_rotated, reader } => {
                // A token may be anyone's; a mark of our own that is gone was rotated away.
                let reason = if is_rotated || was_live { GapReason::Rotated } else { GapReason::CursorExpired };
                self.lost_mark(reason, mark, reader, !is_rotated).await
            }
            located => {
                // It may have been found by its likeness.
                self.go_on_behind(self.last.unwrap_or(mark));
                self.go_on_with(located);
                Ok(())
            }
        }
    }

    /// What comes next in the log is behind `mark` and was not seen.
    pub(super) fn go_on_behind(&mut self, mark: Mark) {
        self.places[mark.stream.index()] = Some(mark.place);
        self.numbers = self.places.map(|place| Some(Place { ordinal: place?.ordinal.saturating_add(1), ..place? }));
    }

    /// Goes on with what there is, since `mark` is not there: with all of it, or with what is later if there is `older` too.
    pub(super) async fn lost_mark(
        &mut self,
        reason: GapReason,
        mark: Mark,
        mut reader: Box<dyn RecordReader>,
        older: bool,
    ) -> Result<(), Error> {
        let mut first = None;
        while let Some(records) = next_records(reader.as_mut()).await? {
            // Another run's times are another clock's, perhaps.
            let at = if older && records.run.is_none_or(|run| run == self.run) {
                records.index.iter().position(|record| record.place.time > mark.place.time)
            } else {
                Some(0)
            };
            self.last = records.last_mark().or(self.last);
            if let Some(at) = at {
                first = Some(from(records, at));
                break;
            }
        }
        (self.pieces, self.joined) = (Pieces::default(), None);
        if let Some(records) = &first {
            self.pieces.note(records);
        }
        let before = first.as_ref().and_then(|records| records.index.first()).map(|record| record.place.time);
        if !self.is_next_alone(first.as_ref().and_then(|records| records.run)) {
            self.gap(reason, Some(mark.place.time), before);
        }
        if let Some(records) = first {
            self.hand(records);
            if self.is_ended {
                return Ok(());
            }
            self.reader = Some(reader);
        } else {
            self.read += reader.bytes_read();
            if !older {
                self.last = None;
            }
        }
        self.is_live = false;
        Ok(())
    }

    /// Takes what was found for reading on.
    pub(super) fn go_on_with(&mut self, located: Located) {
        match located {
            Located::Held(held) => {
                held.into_iter().for_each(|records| self.take(records));
                self.known = None;
            }
            Located::Reading { first, reader } => {
                self.reader = Some(reader);
                self.is_live = false;
                self.take(first);
            }
            Located::Lost { .. } => {}
        }
    }
}

/// Whether a connection that had been made broke off.
fn is_broken_off(error: &Error) -> bool {
    let broken = [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe];
    let mut cause = error.cause().map(|cause| cause as &dyn std::error::Error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| broken.contains(&error.kind())) {
            return true;
        }
        cause = error.source();
    }
    false
}
