use super::{options::tests::read, output::tests::apart, *};

fn options(args: &[&str]) -> Logs {
    read(&[args, &["id"]].concat()).unwrap()
}

#[test]
fn an_end_has_a_code_and_a_note_unless_all_is_well() {
    let (exited, oom) = (Some(137), Some(true));
    for (reason, exit_code, oom, args, expected) in [
        ("exited", Some(0), None, &[][..], (0, "")),
        ("exited", exited, oom, &[], (0, "the sandbox exited with code 137 (out of memory)")),
        ("exited", exited, None, &["--exit-code"], (137, "the sandbox exited with code 137")),
        ("exited", exited, None, &["--exit-code", "-ojson"], (137, "")),
        ("exited", Some(0), None, &["--exit-code"], (0, "")),
        ("exited", None, None, &[], (0, "the sandbox exited")),
        ("removed", None, None, &[], (0, "the sandbox was removed")),
        (
            "removed",
            None,
            None,
            &["--exit-code"],
            (3, "the sandbox was removed; the log ended without the sandbox's exit code"),
        ),
        ("complete", None, None, &[], (0, "")),
        ("complete", Some(4), None, &["--exit-code"], (4, "")),
        ("", None, None, &[], (0, "")),
        ("ended_by_admin", None, None, &[], (3, "the server ended the log: ended_by_admin")),
        ("ended_by_admin", None, None, &["-ojson"], (3, "the server ended the log: ended_by_admin")),
    ] {
        let end = Event { reason: reason.to_owned(), exit_code, oom, ..Event::default() };
        let (code, note) = ended(&end, &options(args));
        assert_eq!((code, note.unwrap_or_default().as_str()), expected, "{reason} {args:?}");
    }
}

#[test]
fn an_output_that_nobody_reads_is_no_fault() {
    for (kind, code, text) in [
        (io::ErrorKind::BrokenPipe, 0, ""),
        (io::ErrorKind::StorageFull, 3, "opensandbox-gateway: the output cannot be written: no storage space\n"),
    ] {
        let (output, _, stderr) = apart();
        let printer = Printer::new(output, Form::Text, false);
        assert_eq!(finish(Over::Output(kind.into()), &options(&[]), &printer), code);
        assert_eq!(stderr.text(), text);
    }
    let (output, _, stderr) = apart();
    let printer = Printer::new(output, Form::Text, false);
    assert_eq!(finish(Over::Refused("no".to_owned()), &options(&[]), &printer), 1);
    assert_eq!(finish(Over::Broken("b".to_owned()), &options(&[]), &printer), 3);
    assert_eq!(stderr.text(), "opensandbox-gateway: no\nopensandbox-gateway: b\n");
}
