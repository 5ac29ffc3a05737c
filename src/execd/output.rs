//! The last output of a command in the background.

use std::collections::VecDeque;

/// The most that is kept, in bytes: the text, and [`LINE_OVERHEAD`] for each line.
const MAX_COST: usize = 1024 * 1024;

/// The memory of a line besides its text, in bytes.
const LINE_OVERHEAD: usize = 32;

/// The last lines, both streams together in the order in which they came.
#[derive(Debug, Default)]
pub struct Output {
    lines: VecDeque<Box<[u8]>>,
    cost: usize,
    /// The index of the first line that is kept, which is how many were dropped.
    first: u64,
}

/// The lines after a cursor.
#[derive(Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The lines' text.
    pub text: Vec<u8>,
    /// The index of the last line of all, counted from 0: the next cursor. None if there was no line yet.
    pub last: Option<u64>,
    /// How many lines after the cursor are no longer there.
    pub lost: u64,
}

/// The lines after a cursor, one by one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Their text.
    pub text: Vec<u8>,
    /// Where each ends in it.
    pub ends: Vec<usize>,
    /// The index of the first.
    pub first: u64,
    /// How many lines after the cursor are no longer there.
    pub lost: u64,
}

impl Output {
    /// The bytes that are kept, with each line's overhead.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Appends a line; the oldest ones are dropped if it gets too much.
    pub fn push(&mut self, line: Vec<u8>) {
        self.cost += line.len() + LINE_OVERHEAD;
        self.lines.push_back(line.into_boxed_slice());
        while self.cost > MAX_COST {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.cost -= oldest.len() + LINE_OVERHEAD;
            self.first += 1;
        }
    }

    /// What came after the line `cursor`, or all of it.
    pub fn after(&self, cursor: Option<u64>) -> Excerpt {
        let next = self.first + self.lines.len() as u64;
        let from = cursor.map_or(0, |cursor| cursor.saturating_add(1));
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        Excerpt {
            text: self.lines.iter().skip(skipped).flatten().copied().collect(),
            last: next.checked_sub(1),
            lost: self.first.saturating_sub(from),
        }
    }
}

impl Output {
    /// What [`Self::after`] gives, line by line.
    pub fn lines_after(&self, cursor: Option<u64>) -> Lines {
        let from = cursor.map_or(0, |cursor| cursor.saturating_add(1));
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut lines =
            Lines { first: from.max(self.first), lost: self.first.saturating_sub(from), ..Lines::default() };
        for line in self.lines.iter().skip(skipped) {
            lines.text.extend_from_slice(line);
            lines.ends.push(lines.text.len());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(lines: impl IntoIterator<Item = String>) -> Output {
        let mut output = Output::default();
        lines.into_iter().for_each(|line| output.push(line.into_bytes()));
        output
    }

    #[test]
    fn a_cursor_is_the_last_line_that_was_seen() {
        assert_eq!(Output::default().after(None), Excerpt { text: Vec::new(), last: None, lost: 0 });
        let output = output(["a\n", "b\n", "c"].map(str::to_owned));
        for (cursor, text) in
            [(None, "a\nb\nc"), (Some(0), "b\nc"), (Some(1), "c"), (Some(2), ""), (Some(u64::MAX), "")]
        {
            assert_eq!(output.after(cursor), Excerpt { text: text.into(), last: Some(2), lost: 0 }, "{cursor:?}");
            assert_eq!(output.lines_after(cursor).text, text.as_bytes(), "{cursor:?}");
        }
    }

    #[test]
    fn the_oldest_lines_give_way_and_that_is_told() {
        let output = output((0..MAX_COST / 100).map(|number| format!("{number:0199}\n")));
        let all = output.after(None);
        let count = MAX_COST as u64 / 100;
        assert!(all.text.len() <= MAX_COST && all.last == Some(count - 1) && all.lost > 0);
        assert_eq!(all.text.len() as u64 / 200, count - all.lost);
        assert_eq!(output.after(Some(all.lost - 1)).lost, 0);
        let lines = output.lines_after(Some(0));
        assert_eq!((lines.first, lines.lost, lines.ends[0]), (all.lost, all.lost - 1, 200));
        assert_eq!(output.after(Some(0)).lost, all.lost - 1);
        let mut empty = Output::default();
        (0..MAX_COST).for_each(|_| empty.push(b"\n".to_vec()));
        assert!(empty.lines.len() < MAX_COST / LINE_OVERHEAD, "empty lines cost too");
    }
}
