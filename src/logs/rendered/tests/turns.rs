//! Expressions that cost much.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

struct Wakes(AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Looks for what makes a state of its own of nearly every byte; every fiftieth line has it.
fn hard() -> (LogQuery, Vec<String>) {
    let filter = Filter::new(Filter::compile(&["a[ab]{200}c"]).unwrap(), false, Vec::new());
    let mut seed = 1_u32;
    let mut letter = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if seed >> 31 == 0 { 'a' } else { 'b' }
    };
    let line = |number: usize| {
        let text: String = (0..400).map(|_| letter()).collect();
        let end = if number.is_multiple_of(50) { format!("a{}c", "b".repeat(200)) } else { String::new() };
        format!("{number} {text}{end}\n")
    };
    (LogQuery { filter, ..LogQuery::ALL }, (0..1_000).map(line).collect())
}

#[tokio::test]
async fn others_have_their_turn_between_lines_that_cost_much() {
    let (query, lines) = hard();
    let steps = [records((0..).zip(&lines).map(|(time, line)| (O, time, line))), end(Reason::Complete)];
    let mut log = Log::new(source(steps), &query, Rendering::default());
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = Arc::clone(&wakes).into();
    let (mut all, mut turns) = (Vec::new(), 0);
    loop {
        match log.0.as_mut().poll_chunk(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(chunk)) => all.extend_from_slice(&chunk.unwrap()),
            Poll::Ready(None) => break,
            Poll::Pending => {
                turns += 1;
                assert_eq!(wakes.0.load(Relaxed), turns, "it wakes itself");
            }
        }
    }
    let expected: String = lines.iter().step_by(50).map(String::as_str).collect();
    assert!(all == expected.as_bytes());
    assert!(turns >= 2, "{turns}");
}

#[tokio::test]
async fn a_queue_gives_the_same() {
    let (query, lines) = hard();
    let steps = [records((0..).zip(&lines).map(|(time, line)| (O, time, line))), end(Reason::Complete)];
    let rendering = Rendering { on_slow: OnSlow::Cut, ..Rendering::default() };
    let all = text(steps, &query, rendering).await;
    assert_eq!(all.lines().count(), 20);
}
