//! The ways in which an HTTP/1.1 client leaves (log-pitfalls.md, table A1), and how soon its backend must be let go.

use std::time::Duration;

/// From the client's leaving to the backend's seeing it.
const SOON: Duration = Duration::from_millis(100);

/// The same on a machine that is busy with something else at that moment: less than until anything is looked at again.
const AT_ALL: Duration = Duration::from_secs(4);

/// How often it is tried to be [`SOON`].
const TRIES: usize = 20;

/// Releases must come [`SOON`]. The best of several counts, since a loaded machine may hold any one of them up; none may
/// take longer than [`AT_ALL`].
///
/// # Panics
///
/// If they do not.
pub async fn soon(mut release: impl AsyncFnMut() -> Duration) {
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let time = release().await;
        assert!(time < AT_ALL, "released after {time:?}");
        if time < SOON {
            return;
        }
        times.push(time);
    }
    panic!("released after {times:?}");
}

/// A test for each way. `$released(request, leave)` opens a log with the bytes that `request` makes of its target, lets `leave`
/// have the client, and sees that the backend's answer was let go.
macro_rules! ways_of_leaving {
    ($released:path) => {
        use $crate::support::client::{Client, get};

        fn plain(target: &str) -> Vec<u8> {
            get(target, &[])
        }

        #[tokio::test]
        async fn close() {
            $released(plain, async |client| client.close()).await;
        }

        #[tokio::test]
        async fn reset() {
            $released(plain, async |client| client.reset()).await;
        }

        #[tokio::test]
        async fn close_after_asking_for_it() {
            $released(|target| get(target, &["Connection: close"]), async |client| client.close()).await;
        }

        #[tokio::test]
        async fn close_of_http_1_0() {
            let request = |target: &str| format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n").into_bytes();
            $released(request, async |client| client.close()).await;
        }

        #[tokio::test]
        async fn close_after_a_stray_byte() {
            let leave = async |mut client: Client| {
                client.send("x").await;
                client.close();
            };
            $released(plain, leave).await;
        }

        /// hyper takes this for a client that has left, and nobody could tell the two apart on a silent stream: documented.
        #[tokio::test]
        async fn shutting_the_write_side_down_ends_the_stream() {
            let leave = async |mut client: Client| {
                client.half_close().await;
                client.body().await.expect_err("an end by which the client can tell");
            };
            $released(plain, leave).await;
        }

        #[tokio::test]
        async fn close_after_an_extra_line_end() {
            $released(|target| [plain(target), b"\r\n".to_vec()].concat(), async |client| client.close()).await;
        }

        #[tokio::test]
        async fn close_and_reset_with_a_request_waiting() {
            let twice = |target: &str| [plain(target), plain("/health")].concat();
            $released(twice, async |client| client.close()).await;
            $released(twice, async |client| client.reset()).await;
        }
    };
}

pub(crate) use ways_of_leaving;
