//! Logs that are made up.

use proptest::prelude::*;

use super::scripted::Printed;
use crate::logs::record::Stream;

/// Logs whose times go on in each stream, though the streams are stamped apart: lines of equal times, lines in pieces among those
/// of the other stream, and few texts.
pub(super) fn sane(lines: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Printed>> {
    let line = (any::<bool>(), 0_i64..3, 0_usize..3, 0_usize..4, 0_u8..8);
    (prop::collection::vec(line, lines), prop::sample::select(vec![1, 400_000_000, 3_000_000_000])).prop_map(
        |(lines, unit)| {
            let mut printed = Vec::new();
            // For each stream: its latest time, and the pieces of a line that are still to come, each behind so many lines.
            let (mut now, mut open) = (0, [None, None]);
            for (is_err, passes, text, pieces, delay) in lines {
                let stream = if is_err { Stream::Stderr } else { Stream::Stdout };
                let finish = |open: &mut Option<(i64, usize, u8)>, stream, printed: &mut Vec<Printed>, all: bool| {
                    let Some((time, pieces, delay)) = open else { return };
                    if *delay > 0 && !all {
                        *delay -= 1;
                        return;
                    }
                    while *pieces > 0 {
                        *pieces -= 1;
                        let text = if *pieces == 0 { "x\n" } else { "x" };
                        printed.push(Printed::new(stream, *time, text));
                        if !all {
                            break;
                        }
                    }
                    if *pieces == 0 {
                        *open = None;
                    }
                };
                finish(&mut open[stream.index()], stream, &mut printed, true);
                finish(&mut open[stream.other().index()], stream.other(), &mut printed, false);
                now += passes * unit;
                if pieces == 0 || text == 0 {
                    printed.push(Printed::new(stream, now, ["a\n", "b\n", "\n"][text]));
                } else {
                    printed.push(Printed::new(stream, now, "x"));
                    open[stream.index()] = Some((now, pieces, delay));
                }
            }
            printed
        },
    )
}

/// Logs whose times are anything, again and again, and whose records all have a text of their own.
pub(super) fn wild(records: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Printed>> {
    let record = (any::<bool>(), 0_i64..6, 0_u8..4);
    prop::collection::vec(record, records).prop_map(|records| {
        let print = |(at, (is_err, time, kind)): (usize, (bool, i64, u8))| {
            let stream = if is_err { Stream::Stderr } else { Stream::Stdout };
            let end = if kind == 0 { "" } else { "\n" };
            Printed::new(stream, time, &format!("{at}{end}"))
        };
        records.into_iter().enumerate().map(print).collect()
    })
}
