//! Heads of responses, and what is none.

use proptest::prelude::*;

use super::*;

fn take_all(input: &[u8], method: &Method) -> Result<Option<Head>, Error> {
    take(&mut BytesMut::from(input), 0, method)
}

fn taken(input: &str) -> Head {
    take_all(input.as_bytes(), &Method::GET).expect("valid").expect("whole")
}

fn refused(input: &str) -> bool {
    take_all(input.as_bytes(), &Method::GET).is_err()
}

#[test]
fn a_head_is_the_same_however_it_comes() {
    let whole = b"HTTP/1.1 200 OK\r\nA: 1\r\nB: \xff\r\nA: 2\r\nContent-Length: 3\r\n\r\nabc";
    for step in 1..=whole.len() {
        let (mut input, mut seen, mut head) = (BytesMut::new(), 0, None);
        for piece in whole.chunks(step) {
            input.extend_from_slice(piece);
            if head.is_none() {
                head = take(&mut input, seen, &Method::GET).expect("valid");
                seen = input.len();
            }
        }
        let head = head.expect("whole");
        let values: Vec<_> = head.response.headers().get_all("a").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!((values, &input[..]), (vec![&b"1"[..], b"2"], &b"abc"[..]), "step {step}");
        assert_eq!(
            (head.body.left(), head.keeps_alive, &head.response.headers()["b"].as_bytes()),
            (Some(3), true, &&b"\xff"[..])
        );
    }
}

#[test]
fn a_body_ends_where_the_standard_says() {
    let body = |head: &str| {
        let head = taken(&format!("HTTP/1.1 {head}\r\n\r\n"));
        (head.body.left(), head.body.may_close(), head.keeps_alive)
    };
    assert_eq!(body("200 OK\r\nContent-Length: 5"), (Some(5), false, true));
    assert_eq!(body("200 OK\r\nContent-Length: 0"), (Some(0), true, true));
    assert_eq!(body("200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5"), (Some(5), false, true));
    assert_eq!(body("200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 5"), (None, false, true));
    assert_eq!(body("200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip"), (None, true, false));
    assert_eq!(body("200 OK"), (None, true, false));
    assert_eq!(body("204 No Content\r\nContent-Length: 5"), (Some(0), true, false));
    assert_eq!(body("204 No Content\r\nContent-Length: 0"), (Some(0), true, true));
    assert_eq!(body("304 Not Modified\r\nContent-Length: 5"), (Some(0), true, true));
    assert_eq!(body("100 Continue"), (Some(0), true, true));
    let head = take_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &Method::HEAD).unwrap().unwrap();
    assert_eq!(
        (head.body.left(), head.response.headers().get("content-length").unwrap()),
        (Some(0), &"5".parse().unwrap())
    );
}

#[test]
fn the_connection_is_kept_if_both_versions_say_so() {
    let keeps = |version: &str, field: &str| {
        taken(&format!("{version} 200 OK\r\nContent-Length: 1\r\n{field}\r\n")).keeps_alive
    };
    assert!(keeps("HTTP/1.1", "") && keeps("HTTP/1.0", "Connection: x, Keep-Alive\r\n"));
    assert!(!keeps("HTTP/1.0", "") && !keeps("HTTP/1.1", "Connection: x, Close\r\n"));
}

#[test]
fn only_an_unusual_reason_is_kept() {
    let reason = |line: &str| {
        let head = taken(&format!("{line}\r\n\r\n"));
        head.response.extensions().get::<ReasonPhrase>().map(|reason| reason.as_bytes().to_vec())
    };
    assert_eq!((reason("HTTP/1.1 200 OK"), reason("HTTP/1.1 200 Fine")), (None, Some(b"Fine".to_vec())));
}

#[test]
fn what_is_no_response_is_refused() {
    for input in [
        "GET / HTTP/1.1\r\n\r\n",
        "220 ftp.example ready\r\n",
        "\r",
        "\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert!(refused(input), "{input:?}");
    }
    assert!(refused(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: 1\r\n".repeat(MAX_HEADERS + 1))));
    assert!(refused(&format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MAX_HEAD))));
    assert!(take_all(b"HTTP/1.1 200 OK\r\nA: 1\r\n", &Method::GET).expect("no fault yet").is_none());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..200), seen in 0..200usize) {
        let seen = seen.min(input.len());
        let _ = take(&mut BytesMut::from(&input[..]), seen, &Method::GET);
    }
}
