//! The test API server's `pods/log`, held against the rows of `kubernetes-api.md` that a real cluster gave.

mod bytes;
mod faults;
mod follow;
mod parameters;
mod rotation;
mod states;

use serde_json::Value;

use crate::support::{
    bounded,
    kube::logs::{Answer, Body, Container, LogBody, LogRequest, Piece, PodLogs, PodObject, Status},
};

/// Two seconds of five lines each in turn, as the pod `lines` of transcript 30 printed them.
const TIMES: [&str; 10] = [
    "2026-11-26T12:55:05.786977775Z",
    "2026-11-26T12:55:05.787490469Z",
    "2026-11-26T12:55:06.089982903Z",
    "2026-11-26T12:55:06.090017613Z",
    "2026-11-26T12:55:06.394435228Z",
    "2026-11-26T12:55:06.394517927Z",
    "2026-11-26T12:55:06.696234288Z",
    "2026-11-26T12:55:06.696292549Z",
    "2026-11-26T12:55:06.998205668Z",
    "2026-11-26T12:55:06.998603667Z",
];

/// A pod with its logs.
struct Case {
    logs: PodLogs,
    main: Container,
    pod: Value,
}

/// What came of a body in full.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    status: u16,
    chunks: Vec<Vec<u8>>,
    end: Piece,
}

impl Whole {
    fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    fn sizes(&self) -> Vec<usize> {
        self.chunks.iter().map(Vec::len).collect()
    }
}

impl Case {
    /// The pod `name` in `default` with a running container `main` that has printed nothing.
    fn new(name: &str) -> Self {
        let logs = PodLogs::new();
        let main = logs.container();
        let pod = PodObject::new("default", name).container("main", &Status::running(&main)).json();
        Self { logs, main, pod }
    }

    /// `out-1`, `err-1`, … `err-5`.
    fn lines() -> Self {
        let case = Self::new("lines");
        for (at, time) in TIMES.iter().enumerate() {
            let (stream, word) = crate::support::kube::logs::Stream::both()[at % 2];
            case.main.print_at(time.parse().unwrap(), stream, format!("{word}-{}\n", at / 2 + 1));
        }
        case
    }

    async fn answer(&self, query: &str) -> Answer {
        self.answer_as(query, Some("*/*")).await
    }

    async fn answer_as(&self, query: &str, accept: Option<&str>) -> Answer {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let name = self.pod["metadata"]["name"].as_str().unwrap();
        let request = LogRequest { namespace: "default", name, query: &pairs, accept, pod: Some(&self.pod) };
        self.logs.answer(request).await
    }

    /// The whole of an answer that ends.
    async fn whole(&self, query: &str) -> Whole {
        whole(self.answer(query).await).await
    }

    /// The text of a 200 that ends cleanly.
    async fn text(&self, query: &str) -> String {
        let whole = self.whole(query).await;
        assert_eq!((whole.status, &whole.end), (200, &Piece::End), "{query}: {}", whole.text());
        whole.text()
    }

    /// The body of a 200.
    async fn open(&self, query: &str) -> LogBody {
        let answer = self.answer(query).await;
        assert_eq!((answer.status, answer.content_type.as_deref()), (200, Some("text/plain")), "{query}");
        let Body::Stream(body) = answer.body else { panic!("{query}: no streamed body") };
        body
    }

    /// The code, the message and the reason of a refusal; the reason is empty if there is none.
    async fn refusal(&self, query: &str) -> (u16, String, String) {
        let whole = self.whole(query).await;
        let status: Value = serde_json::from_slice(&whole.bytes()).unwrap();
        assert_eq!(status["code"], whole.status);
        let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
        (whole.status, text("message"), text("reason"))
    }
}

async fn whole(answer: Answer) -> Whole {
    bounded("a whole answer", read(answer)).await
}

async fn read(answer: Answer) -> Whole {
    let status = answer.status;
    match answer.body {
        Body::None => Whole { status, chunks: Vec::new(), end: Piece::End },
        Body::Whole(bytes) => Whole { status, chunks: vec![bytes.to_vec()], end: Piece::End },
        Body::Stream(mut body) => {
            let mut chunks = Vec::new();
            loop {
                match body.next().await {
                    Piece::Chunk(chunk) => chunks.push(chunk.to_vec()),
                    end => return Whole { status, chunks, end },
                }
            }
        }
    }
}

/// The next chunk as text; none at a clean end.
async fn chunk(body: &mut LogBody) -> Option<String> {
    match bounded("a chunk", body.next()).await {
        Piece::Chunk(chunk) => Some(String::from_utf8(chunk.to_vec()).unwrap()),
        Piece::End => None,
        Piece::Abort => panic!("the body was broken off"),
    }
}

/// Whether nothing comes, though everything that can run has run.
async fn is_silent(body: &mut LogBody) -> bool {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    futures_util::FutureExt::now_or_never(body.next()).is_none()
}
