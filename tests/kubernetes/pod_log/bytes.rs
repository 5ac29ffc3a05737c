//! §4: the bytes of a log.

use super::{Case, chunk, is_silent};
use crate::support::kube::logs::Stream;

/// Lines with the times in front of them cut to their first bytes: for comparing what is long.
fn starts(text: &str) -> Vec<(usize, &str)> {
    text.split('\n').map(|line| (line.len(), &line[..line.len().min(35)])).collect()
}

#[tokio::test]
async fn b1_every_byte_passes_but_a_cr_before_a_lf() {
    let case = Case::new("bytes");
    case.main.out(
        b"crlf\r\ncr-progress 10%\rcr-progress 20%\nnul\x00nul\nbad utf8 \xff\xfe\xc0 end\n\x1b[31mred\x1b[0m\n\n   \n",
    );
    let body = case.whole("").await.bytes();
    assert_eq!(
        body,
        b"crlf\ncr-progress 10%\rcr-progress 20%\nnul\x00nul\nbad utf8 \xff\xfe\xc0 end\n\x1b[31mred\x1b[0m\n\n   \n"
    );
}

#[tokio::test]
async fn b2_nine_digits_in_the_zone_of_the_node() {
    let case = Case::new("tz");
    case.main.print_at("2026-11-26T13:14:51.45Z".parse().unwrap(), Stream::Stdout, "one\n");
    assert_eq!(case.text("timestamps=true").await, "2026-11-26T13:14:51.450000000Z one\n");
    case.main.node().set_offset(1);
    assert_eq!(case.text("timestamps=true").await, "2026-11-26T14:14:51.450000000+01:00 one\n");
}

/// The log of transcript 30, section 9.
fn long_lines() -> Case {
    let case = Case::new("long");
    for (letter, length, end) in [("a", 40000, "end\n"), ("b", 16384, "end2\n"), ("c", 16383, "end3\n")] {
        case.main.out(letter.repeat(length) + "\n" + end);
    }
    case
}

#[tokio::test]
async fn b3_pieces_are_joined_and_one_timestamp_is_put_before_a_line() {
    let case = long_lines();
    let whole = case.whole("").await;
    assert_eq!(whole.text().split('\n').map(str::len).collect::<Vec<_>>(), [40000, 3, 16384, 4, 16383, 4, 0]);
    let text = case.text("timestamps=true").await;
    assert_eq!(text.split('\n').map(str::len).collect::<Vec<_>>(), [40031, 34, 16415, 35, 16414, 35, 0]);
}

#[tokio::test]
async fn b3_tails_count_pieces() {
    let case = long_lines();
    for (tail, lengths) in [
        (1, vec![4, 0]),
        (2, vec![16383, 4, 0]),
        (5, vec![3, 16384, 4, 16383, 4, 0]),
        (6, vec![7232, 3, 16384, 4, 16383, 4, 0]),
        (7, vec![23616, 3, 16384, 4, 16383, 4, 0]),
        (8, vec![40000, 3, 16384, 4, 16383, 4, 0]),
        (9, vec![40000, 3, 16384, 4, 16383, 4, 0]),
    ] {
        let text = case.text(&format!("tailLines={tail}")).await;
        assert_eq!(text.split('\n').map(str::len).collect::<Vec<_>>(), lengths, "{tail}");
    }
    // It may begin in the middle of a line, with a timestamp put there.
    let text = case.text("tailLines=6&timestamps=true").await;
    assert_eq!(starts(&text)[0].0, 7232 + 31);
}

#[tokio::test]
async fn b4_the_other_stream_breaks_the_joint() {
    let case = Case::new("joint");
    let time = |text: &str| text.parse().unwrap();
    case.main.print_at(time("2026-11-26T13:14:30.648596512Z"), Stream::Stdout, "a".repeat(40960));
    case.main.print_at(time("2026-11-26T13:14:31.651371711Z"), Stream::Stderr, "ERR\n");
    case.main.print_at(time("2026-11-26T13:14:32.654570940Z"), Stream::Stdout, "b".repeat(9039) + "\nfin\n");
    let text = case.text("timestamps=true").await;
    assert_eq!(
        starts(&text),
        [
            (32802, "2026-11-26T13:14:30.648596512Z aaaa"),
            (17262, "2026-11-26T13:14:32.654570940Z aaaa"),
            (34, "2026-11-26T13:14:32.654570940Z fin"),
            (0, "")
        ]
    );
    assert!(text.contains("aaaERR\n2026-11-26T13:14:32"));
}

#[tokio::test]
async fn b5_an_unfinished_line_is_held_back() {
    let case = Case::new("part");
    let mut body = case.open("follow=true").await;
    case.main.out("prompt> ");
    assert!(is_silent(&mut body).await);
    case.main.out("rest\n");
    assert_eq!(chunk(&mut body).await.as_deref(), Some("prompt> rest\n"));
    // Of a long one comes what is more than 16,384 bytes.
    case.main.out("x".repeat(16384));
    assert!(is_silent(&mut body).await);
    case.main.out("yy");
    assert_eq!(chunk(&mut body).await, Some("x".repeat(16384)));
    assert!(is_silent(&mut body).await);
    case.main.exit();
    assert_eq!(chunk(&mut body).await.as_deref(), Some("yy"));
}

#[tokio::test]
async fn b5_the_last_line_has_no_lf_if_none_was_printed() {
    let case = Case::new("nonl");
    case.main.out("one\nno-newline-at-end");
    case.main.exit();
    assert_eq!(case.text("").await, "one\nno-newline-at-end");
}

#[tokio::test]
async fn b8_chunks_are_records_on_follow_and_pieces_of_a_buffer_otherwise() {
    let case = long_lines();
    assert_eq!(case.whole("").await.sizes(), [16384, 16384, 7233, 2048, 14341, 2048, 14341, 5]);
    case.main.exit();
    let whole = case.whole("follow=true&timestamps=true").await;
    assert_eq!(whole.sizes(), [16415, 16384, 7233, 35, 16416, 36, 16415, 36]);
    let burst = Case::new("burst");
    for line in 1..=2000 {
        burst.main.out(format!("burst-{line}\n"));
    }
    let sizes = burst.whole("").await.sizes();
    assert_eq!(sizes, [vec![2048; 10], vec![20893 - 20480]].concat());
    let mut body = burst.open("follow=true").await;
    for line in 1..=2000 {
        assert_eq!(chunk(&mut body).await, Some(format!("burst-{line}\n")));
    }
}
