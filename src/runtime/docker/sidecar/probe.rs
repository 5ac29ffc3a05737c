//! Probing a sidecar until it is ready.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use crate::{http1::response_reader::ResponseReader, secret::Secret};

/// Between two tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The longest that one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks until the answer is good.
///
/// # Errors
/// What the last try found, when `limit` is over.
pub(super) async fn until_ready(address: &str, token: &Secret, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    let mut last = "no answer".to_owned();
    loop {
        match timeout_at(deadline.min(Instant::now() + TRY_TIMEOUT), ask(address, token)).await {
            Ok(Ok(status)) if (200..300).contains(&status) => return Ok(()),
            Ok(Ok(status)) => last = format!("status {status}"),
            Ok(Err(error)) => last = error.to_string(),
            // The limit may be over in the middle of a try: what was found before says more.
            Err(_) if Instant::now() < deadline => last = "no answer in time".to_owned(),
            Err(_) => {}
        }
        if Instant::now() + RETRY_INTERVAL >= deadline {
            return Err(last);
        }
        sleep(RETRY_INTERVAL).await;
    }
}

/// One request; gives the answer's status.
async fn ask(address: &str, token: &Secret) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /healthz HTTP/1.1\r\nhost: {address}\r\nOPENSANDBOX-EGRESS-AUTH: {}\r\nconnection: close\r\n\r\n",
        token.expose()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut reader = ResponseReader::default();
    while stream.read_buf(&mut reader.bytes).await? > 0 {
        if let Some(head) = reader.final_head().map_err(|_| not_http())? {
            return Ok(head.status().as_u16());
        }
    }
    Err(not_http())
}

fn not_http() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives these answers, one a connection.
    async fn server(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            for answer in answers {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = client.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                assert!(request.starts_with("GET /healthz ") && request.contains("EGRESS-AUTH: t0k"), "{request}");
                client.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_sidecar_is_asked_until_it_is_ready() {
        let answers = vec!["", "HTTP/1.1 503 Wait\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"];
        until_ready(&server(answers).await, &Secret::new("t0k"), Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn the_last_answer_is_told() {
        let address = server(vec!["HTTP/1.1 503 Wait\r\n\r\n"; 100]).await;
        let last = until_ready(&address, &Secret::new("t0k"), Duration::from_millis(350)).await.unwrap_err();
        assert_eq!(last, "status 503");
    }
}
