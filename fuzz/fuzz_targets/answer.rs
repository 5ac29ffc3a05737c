#![no_main]

#[path = "../answer_targets.rs"]
mod answer_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| answer_targets::answer(data));
