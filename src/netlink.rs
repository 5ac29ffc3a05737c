//! Questions to the kernel over netlink(7), of the kind that it answers with one message while the question is being sent.

use std::io::{self, ErrorKind};

use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
};

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// `NLMSG_ERROR`, the type of an answer that is an error number.
const ERROR: u16 = 2;

/// Length of `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;

/// Where a message's sequence number is.
const SEQUENCE_AT: usize = 8;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024;

/// A socket on which the kernel is asked.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    question: Vec<u8>,
    answer: [u8; MAX_ANSWER],
}

/// What the kernel said.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer<'a> {
    /// A message: its type, and what is behind its header.
    Message(u16, &'a [u8]),
    /// An error number.
    Refusal(i32),
}

impl Answer<'_> {
    /// The error for an answer that says nothing of what was asked.
    pub(crate) fn error(&self) -> io::Error {
        match self {
            Self::Refusal(code) if *code > 0 => io::Error::from_raw_os_error(*code),
            _ => io::Error::new(ErrorKind::InvalidData, "the kernel's answer is none"),
        }
    }
}

impl Netlink {
    /// Opens a socket of one of netlink's protocols; `NETLINK_ROUTE` is none.
    ///
    /// # Errors
    ///
    /// The kernel has no such protocol, or does not let this process use it.
    pub(crate) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        Ok(Self { socket, sequence: 0, question: Vec::new(), answer: [0; MAX_ANSWER] })
    }

    /// Asks a question of the type `kind`.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked, or says nothing that is a message.
    pub(crate) fn ask(&mut self, kind: u16, body: &[u8]) -> io::Result<Answer<'_>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.question.clear();
        self.question.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        self.question.extend(kind.to_ne_bytes());
        self.question.extend(REQUEST.to_ne_bytes());
        self.question.extend(self.sequence.to_ne_bytes());
        // The sender, for the kernel to fill in.
        self.question.extend([0; 4]);
        self.question.extend(body);
        send(&self.socket, &self.question, SendFlags::empty())?;
        loop {
            let (length, _) = recv(&self.socket, &mut self.answer, RecvFlags::empty())?;
            // Not an answer to a question before, of which only an error was read.
            if u32::from_ne_bytes(bytes_at(&self.answer[..length], SEQUENCE_AT)?) == self.sequence {
                return read(&self.answer[..length]);
            }
        }
    }
}

fn read(answer: &[u8]) -> io::Result<Answer<'_>> {
    let body = answer.get(HEADER..).ok_or(ErrorKind::InvalidData)?;
    match u16::from_ne_bytes(bytes_at(answer, 4)?) {
        ERROR => Ok(Answer::Refusal(i32::from_ne_bytes(bytes_at(body, 0)?).saturating_neg())),
        kind => Ok(Answer::Message(kind, body)),
    }
}

/// The bytes of a number in a message.
///
/// # Errors
///
/// The message is too short.
pub(crate) fn bytes_at<const N: usize>(message: &[u8], at: usize) -> io::Result<[u8; N]> {
    let bytes = message.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_is_an_error() {
        for answer in [&[][..], &[0; 5], &[0; HEADER - 1]] {
            assert!(read(answer).is_err());
        }
        let mut answer = [0; HEADER + 4];
        assert_eq!(read(&answer).unwrap(), Answer::Message(0, &[0; 4]));
        answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        assert!(read(&answer[..HEADER + 3]).is_err());
        for (number, code) in [(-2, 2), (i32::MIN, i32::MAX), (0, 0)] {
            answer[HEADER..].copy_from_slice(&number.to_ne_bytes());
            assert_eq!(read(&answer).unwrap(), Answer::Refusal(code));
        }
        assert_eq!(Answer::Refusal(1).error().kind(), ErrorKind::PermissionDenied);
        assert_eq!(Answer::Refusal(0).error().kind(), ErrorKind::InvalidData);
    }
}
