//! §6: rotation and readers that are late.

use super::{Case, chunk, is_silent};

#[tokio::test]
async fn r1_a_reader_that_keeps_up_loses_nothing() {
    let case = Case::new("rotated");
    case.main.rotate_at(1 << 14);
    let mut body = case.open("follow=true").await;
    for line in 0..5000 {
        case.main.out(format!("line-{line}\n"));
        assert_eq!(chunk(&mut body).await, Some(format!("line-{line}\n")));
    }
    assert!(case.main.rotations() > 7, "{}", case.main.rotations());
}

#[tokio::test]
async fn r1_a_line_over_a_rotation_stays_one_line() {
    let case = Case::new("over");
    let mut body = case.open("follow=true&timestamps=true").await;
    case.main.out("x".repeat(16385));
    assert_eq!(chunk(&mut body).await.map(|chunk| chunk.len()), Some(16384 + 31));
    case.main.rotate();
    case.main.out("y\n");
    assert_eq!(chunk(&mut body).await.as_deref(), Some("xy\n"));
    // R5: who reads the newest file alone gets a time as if a line began there.
    assert_eq!(case.text("timestamps=true").await.len(), 31 + 3);
}

#[tokio::test]
async fn r2_r3_a_reader_that_is_late_jumps_without_a_word() {
    let case = Case::new("late");
    let mut body = case.open("follow=true").await;
    case.main.out("1\n");
    assert_eq!(chunk(&mut body).await.as_deref(), Some("1\n"));
    case.main.out("2\n");
    case.main.rotate();
    case.main.out("3\n");
    case.main.rotate();
    case.main.out("4\n");
    assert_eq!(chunk(&mut body).await.as_deref(), Some("2\n"));
    assert_eq!(chunk(&mut body).await.as_deref(), Some("4\n"));
    assert!(is_silent(&mut body).await);
}

#[tokio::test]
async fn r4_a_plain_read_sees_the_newest_file_only() {
    let case = Case::new("plain");
    case.main.out("1\n2\n");
    case.main.rotate();
    assert_eq!(case.text("").await, "");
    case.main.out("3\n");
    for query in ["", "tailLines=50000", "sinceTime=2020-01-01T00:00:00Z"] {
        assert_eq!(case.text(query).await, "3\n", "{query}");
    }
}

#[tokio::test]
async fn r6_files_are_rotated_by_their_size() {
    let case = Case::new("sized");
    case.main.rotate_at(1 << 20);
    case.main.out("z".repeat(3_000_000) + "\n");
    assert_eq!(case.main.rotations(), 2);
    let text = case.text("").await;
    assert!(text.len() < 1 << 20 && text.ends_with("z\n"), "{}", text.len());
}
