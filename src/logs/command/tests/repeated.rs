//! An output that is given from its beginning on, each time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;

/// A line without an end, which grows by so many bytes a second.
struct Endless {
    begun: Instant,
    per_second: u64,
    ends_after: Duration,
    read: Arc<AtomicU64>,
}

#[async_trait]
impl CommandLog for Endless {
    async fn seek(&mut self, _: Option<Mark>) -> Result<Sought, Error> {
        Ok(Sought::Beginning)
    }

    async fn read(&mut self) -> Result<Option<Batch>, Error> {
        self.read.fetch_add(self.begun.elapsed().as_secs() * self.per_second, Relaxed);
        Ok(None)
    }

    fn rest(&mut self) -> Option<Records> {
        None
    }

    async fn exit(&mut self) -> Result<Option<Exit>, Error> {
        Ok((self.begun.elapsed() >= self.ends_after).then(Exit::default))
    }

    fn bytes_read(&self) -> u64 {
        self.read.load(Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_without_an_end_costs_no_more_than_in_proportion_and_its_end_is_told_soon() {
    for (per_second, seconds) in [(1_000, 600), (1_000_000, 100), (20_000_000, 30)] {
        let (begun, read) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let ends_after = Duration::from_secs(seconds);
        let log = Box::new(Endless { begun, per_second, ends_after, read: Arc::clone(&read) });
        let mut source = CommandSource::open(log, ID, &follow(), Duration::from_secs(30)).await.unwrap().unwrap();
        assert_eq!(next(&mut source).await.as_deref(), Some("begin 0 None"));
        assert_eq!(next(&mut source).await.as_deref(), Some("end exited None"));
        assert!(begun.elapsed() <= ends_after + 2 * LONGEST_PAUSE, "{:?}", begun.elapsed());
        let (printed, all) = (per_second * seconds, read.load(Relaxed));
        assert!(all <= 4 * (printed + MAX_REPEATED * seconds), "{all} of {printed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_execd_says_nothing_is_not_waited_for_long() {
    struct Hanging;

    #[async_trait]
    impl CommandLog for Hanging {
        async fn seek(&mut self, _: Option<Mark>) -> Result<Sought, Error> {
            std::future::pending().await
        }

        async fn read(&mut self) -> Result<Option<Batch>, Error> {
            std::future::pending().await
        }

        fn rest(&mut self) -> Option<Records> {
            None
        }

        async fn exit(&mut self) -> Result<Option<Exit>, Error> {
            std::future::pending().await
        }

        fn bytes_read(&self) -> u64 {
            0
        }
    }

    let begun = Instant::now();
    let opened = CommandSource::open(Box::new(Hanging), ID, &follow(), Duration::from_secs(30)).await;
    assert_eq!(opened.err().map(|error| error.kind), Some(Kind::TimedOut));
    assert_eq!(begun.elapsed(), STATUS_TIMEOUT);
}
