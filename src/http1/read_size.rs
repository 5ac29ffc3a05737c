//! How much one read asks for: little where little comes, much where a server has much to send.

/// The size of a connection's next read, in bytes. Doubles, up to a limit, as long as reads are filled, and is halved when
/// two in a row bring no more than a quarter of it.
#[derive(Debug)]
pub struct ReadSize {
    next: u32,
    min: u32,
    max: u32,
    /// The last read was a short one.
    was_short: bool,
}

impl ReadSize {
    /// Reads of `first` bytes at first and at least, and of `max` bytes at most.
    pub fn new(first: usize, max: usize) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let min = u32::try_from(first).unwrap_or(u32::MAX).min(max);
        Self { next: min, min, max, was_short: false }
    }

    /// The size of the next read.
    pub fn next(&self) -> usize {
        self.next as usize
    }

    /// Notes that a read of this size, for which there was `room`, brought `count` bytes.
    pub fn note(&mut self, count: usize, room: usize) {
        let is_short = count <= self.next() / 4;
        if count == room {
            self.next = self.next.saturating_mul(2).min(self.max);
        } else if is_short && self.was_short {
            self.next = (self.next / 2).max(self.min);
        }
        self.was_short = is_short;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_reads_are_filled_and_shrinks_after_two_short_ones() {
        let mut size = ReadSize::new(4, 40);
        let mut next = |count: usize| {
            size.note(count, size.next());
            size.next()
        };
        assert_eq!([next(4), next(8), next(16), next(32), next(40)], [8, 16, 32, 40, 40]);
        assert_eq!([next(11), next(39), next(10), next(40), next(10)], [40; 5], "no two short ones in a row");
        assert_eq!([next(10), next(5), next(1), next(1), next(1), next(1)], [20, 10, 5, 4, 4, 4]);
    }

    #[test]
    fn the_limit_may_be_below_the_first_size() {
        let mut size = ReadSize::new(4096, 512);
        assert_eq!(size.next(), 512);
        size.note(512, 512);
        assert_eq!(size.next(), 512);
    }
}
