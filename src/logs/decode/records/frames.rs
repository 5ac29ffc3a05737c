//! Records in frames that are not alone in their chunks, or that are cut.

use super::{Stamper, stream};
use crate::logs::{
    LogError,
    decode::docker_frames::{HEADER, SYSTEM_ERROR, check, report},
    record::{Record, Records},
};

/// Frames whose bytes are collected. Holds at most one that is not whole, which is shorter than 16 MiB.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    index: Vec<Record>,
    /// Where the first frame begins that is not whole.
    at: usize,
}

impl Frames {
    /// Whether no frame is under way.
    pub(super) fn is_between(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Whether there are whole records.
    pub(super) fn has_records(&self) -> bool {
        !self.index.is_empty()
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, run: &[u8], stamper: &mut Stamper) -> Result<(), LogError> {
        self.bytes.extend_from_slice(run);
        while let Some(header) = self.bytes[self.at..].first_chunk::<HEADER>() {
            let (id, length) = check(*header)?;
            let start = self.at + HEADER;
            let end = start + length as usize;
            let Some(payload) = self.bytes.get(start..end) else { break };
            if id == SYSTEM_ERROR {
                return Err(report(payload));
            }
            if length > 0 {
                self.index.push(stamper.record(stream(id), payload, start)?);
            }
            self.at = end;
        }
        Ok(())
    }

    /// The records that are whole.
    pub(super) fn take(&mut self) -> Option<Records> {
        let rest = self.bytes.split_off(self.at);
        let buf = std::mem::replace(&mut self.bytes, rest).into();
        self.at = 0;
        let index = std::mem::take(&mut self.index);
        (!index.is_empty()).then_some(Records { buf, index, run: None })
    }
}
