//! The last lines of a command's output: all of it is counted, since execd cannot tell the end alone.

use std::num::NonZeroU64;

use tokio::task::yield_now;

use super::{Batch, Machine};
use crate::{
    error::Error,
    logs::{
        lines::Lines,
        piece::{Begin, Gap, GapReason, Piece},
        record::Records,
        select::Select,
        turn::Turn,
    },
};

/// How often output is counted anew whose first lines go meanwhile.
const MAX_COUNTS: u32 = 3;

/// All the lines that there are.
struct Counted {
    /// How many are asked for.
    wanted: u64,
    first: Option<(u32, u32)>,
    /// What was read, if it is not too much.
    held: Option<Vec<Batch>>,
}

/// The number and the sum of the first record.
fn first_line(records: &Records) -> Option<(u32, u32)> {
    let (record, bytes) = records.iter().next()?;
    Some((record.place.ordinal, crc32fast::hash(bytes)))
}

impl Machine {
    /// Goes to the last `lines` lines. What was counted is what is given, or begins with the same line: the first ones may go
    /// meanwhile.
    pub(super) async fn begin_tail(&mut self, lines: NonZeroU64, select: &Select) -> Result<(), Error> {
        for _ in 0..MAX_COUNTS {
            let Counted { wanted, first, held } = self.count(select).await?;
            let skip = wanted.saturating_sub(lines.get());
            let begin = Piece::Begin(Begin { skip, ..Begin::default() });
            if let Some(held) = held {
                self.ready.push_back(begin);
                held.into_iter().for_each(|batch| self.take(batch));
                return Ok(());
            }
            self.log.seek(None).await?;
            let batch = self.log.read().await?.unwrap_or_default();
            if first_line(&batch.records) == first {
                self.ready.push_back(begin);
                self.take(batch);
                return Ok(());
            }
        }
        self.log.seek(None).await?;
        // There is less than was counted.
        self.ready.push_back(Piece::Gap(Gap { reason: GapReason::Rotated, after: None, before: None, lines: None }));
        self.ready.push_back(Piece::Begin(Begin::default()));
        Ok(())
    }

    /// Counts the lines that are asked for, and gives what was read if it is not too much to hold.
    async fn count(&mut self, select: &Select) -> Result<Counted, Error> {
        self.log.seek(None).await?;
        self.share.clear();
        let (mut counted, mut turn) = (Counted { wanted: 0, first: None, held: Some(Vec::new()) }, Turn::new());
        let (mut joined, mut choice) = (Lines::new(false), select.lines());
        let mut is_through = false;
        while !is_through {
            let batch = self.log.read().await?;
            is_through = batch.is_none();
            let rest = || self.exit.and_then(|_| self.log.rest()).map(|records| Batch { records, has_gap: false });
            let Some(batch) = batch.or_else(rest) else { break };
            counted.first = counted.first.or_else(|| first_line(&batch.records));
            for (record, bytes) in batch.records.iter() {
                let wanted = &mut counted.wanted;
                joined.push(record, bytes, |line| *wanted += u64::from(choice.has(&line) && !line.is_part));
                if select.is_costly() && turn.is_over() {
                    yield_now().await;
                    turn.begin();
                }
            }
            counted.held = counted.held.filter(|_| self.share.grow(&batch.records));
            match &mut counted.held {
                Some(held) => held.push(batch),
                None => self.share.clear(),
            }
        }
        let wanted = &mut counted.wanted;
        joined.finish(|line| *wanted += u64::from(choice.has(&line) && !line.is_part));
        Ok(counted)
    }
}
