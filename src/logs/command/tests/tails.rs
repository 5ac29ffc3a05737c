//! The last lines of an output whose first lines go while they are counted.

use super::*;

/// Numbered lines, of which some are gone at each look from the beginning.
struct Rolling {
    line: usize,
    first: u32,
    end: u32,
    goes: u32,
    seeks: Arc<Mutex<u32>>,
    is_through: bool,
}

#[async_trait]
impl CommandLog for Rolling {
    async fn seek(&mut self, _: Option<Mark>) -> Result<Sought, Error> {
        let mut seeks = self.seeks.lock().unwrap();
        // The first look finds all.
        self.first += if *seeks == 0 { 0 } else { self.goes };
        *seeks += 1;
        self.is_through = false;
        Ok(Sought::Beginning)
    }

    async fn read(&mut self) -> Result<Option<Batch>, Error> {
        if std::mem::replace(&mut self.is_through, true) {
            return Ok(None);
        }
        let (mut buf, mut index) = (Vec::new(), Vec::new());
        for ordinal in self.first..self.end {
            let start = buf.len() as u32;
            buf.extend_from_slice(format!("{ordinal:0>width$}\n", width = self.line - 1).as_bytes());
            let place = Place { time: 1, ordinal };
            index.push(Record { stream: Stream::Stdout, place, start, end: buf.len() as u32 });
        }
        Ok(Some(Batch { records: Records { buf: buf.into(), index, run: None }, has_gap: false }))
    }

    fn rest(&mut self) -> Option<Records> {
        None
    }

    async fn exit(&mut self) -> Result<Option<Exit>, Error> {
        Ok(Some(Exit::default()))
    }

    fn bytes_read(&self) -> u64 {
        0
    }
}

/// What a client of the last 3 lines gets, by numbers; whether it was told of a gap; and how often it was looked from the beginning.
async fn last(line: usize, goes: u32) -> (Vec<u32>, bool, u32) {
    let seeks = Arc::new(Mutex::new(0));
    let log = Rolling { line, first: 0, end: 100, goes, seeks: Arc::clone(&seeks), is_through: false };
    let query = LogQuery { tail: NonZeroU64::new(3), ..LogQuery::ALL };
    let opened = CommandSource::open(Box::new(log), ID, &query, Duration::ZERO).await;
    let mut source = opened.unwrap().unwrap();
    let (mut skip, mut given, mut has_gap) = (0, Vec::new(), false);
    while let Some(piece) = poll_fn(|cx| source.poll_piece(cx)).await {
        match piece.unwrap() {
            Piece::Begin(begin) => skip = usize::try_from(begin.skip).unwrap(),
            Piece::Records(records) => given.extend(records.index.iter().map(|record| record.place.ordinal)),
            Piece::Gap(_) => has_gap = true,
            _ => {}
        }
    }
    let seeks = *seeks.lock().unwrap();
    (given.split_off(skip), has_gap, seeks)
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_is_what_is_given() {
    // Looked at once.
    assert_eq!(last(100, 7).await, (vec![97, 98, 99], false, 1));
    // Too much to hold.
    assert_eq!(last(20_000, 0).await, (vec![97, 98, 99], false, 2));
    // The rest of it is not.
    assert_eq!(last(20_000, 30).await, (vec![97, 98, 99], false, 3));
    let (given, has_gap, seeks) = last(20_000, 1).await;
    assert_eq!((given.first(), given.last(), has_gap, seeks), (Some(&6), Some(&99), true, 7));
}
