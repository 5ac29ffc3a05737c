//! Leaving out the lines before the last N, where the engine can count only records (log-pitfalls B10).

/// What to leave out at the start of a log. [`Skip::default`] leaves out nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skip {
    /// The first record may be the middle of a line: leave it out up to that line's end.
    pub fragment: bool,
    /// Then leave out so many logical lines.
    pub lines: u64,
}

impl Skip {
    /// Whether nothing is left out any more.
    pub fn is_over(self) -> bool {
        !self.fragment && self.lines == 0
    }

    /// Counts a logical line that starts here, and tells whether it is left out.
    pub fn takes_line(&mut self) -> bool {
        let taken = self.lines > 0;
        self.lines = self.lines.saturating_sub(1);
        taken
    }
}
