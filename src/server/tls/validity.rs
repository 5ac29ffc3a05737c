//! How long a certificate is valid. rustls tells it of those that it checks, not of its own.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// DER's tags (X.690 §8): of a sequence, of the version's field, and of the two ways to write a time.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a certificate is valid.
#[derive(Debug, PartialEq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Validity {
    /// That of a certificate in DER (RFC 5280 §4.1); none if it cannot be read.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let mut to_be_signed = inside(inside(certificate, SEQUENCE)?, SEQUENCE)?;
        if to_be_signed.first() == Some(&VERSION) {
            next(&mut to_be_signed)?;
        }
        // The serial number, the signature's algorithm and the issuer.
        for _ in 0..3 {
            next(&mut to_be_signed)?;
        }
        let mut times = inside(to_be_signed, SEQUENCE)?;
        Some(Self { from: time(next(&mut times)?)?, until: time(next(&mut times)?)? })
    }

    /// What is wrong with it at `now`.
    pub(super) fn fault(&self, now: Timestamp) -> Option<String> {
        let Self { from, until } = self;
        if now > *until {
            Some(format!("the certificate has expired at {until}: clients will refuse it; renew it"))
        } else if now < *from {
            Some(format!("the certificate is not valid before {from}: clients will refuse it; is the clock right?"))
        } else {
            None
        }
    }
}

/// What is in the first element of `der`, which is to have this tag.
fn inside(mut der: &[u8], tag: u8) -> Option<&[u8]> {
    next(&mut der).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// Takes the first element of `der`: its tag and what is in it.
fn next<'d>(der: &mut &'d [u8]) -> Option<(u8, &'d [u8])> {
    let (&[tag, short], mut rest) = der.split_first_chunk()?;
    let length = if short < 0x80 {
        usize::from(short)
    } else {
        let (bytes, behind) = rest.split_at_checked(usize::from(short & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        rest = behind;
        bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    let (content, behind) = rest.split_at_checked(length)?;
    *der = behind;
    Some((tag, content))
}

/// A time in UTC to the second, as certificates have it (RFC 5280 §4.1.2.5). Years of two digits are from 1950 to 2049.
fn time((tag, text): (u8, &[u8])) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let century = match (tag, text.get(..2)?) {
        (UTC_TIME, year) if year < "50" => "20",
        (UTC_TIME, _) => "19",
        (GENERALIZED_TIME, _) => "",
        _ => return None,
    };
    let read = DateTime::strptime("%Y%m%d%H%M%SZ", format!("{century}{text}")).ok()?;
    Offset::UTC.to_timestamp(read).ok()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    fn certificate(from: (u8, &str), until: (u8, &str)) -> Vec<u8> {
        let times = [from, until].map(|(tag, text)| element(tag, text.as_bytes())).concat();
        let fields =
            [element(VERSION, b"2"), element(2, b"1"), element(SEQUENCE, b""), element(SEQUENCE, b"")].concat();
        element(SEQUENCE, &element(SEQUENCE, &[fields, element(SEQUENCE, &times)].concat()))
    }

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        let read = |from, until| Validity::of(&certificate(from, until)).map(|it| format!("{} {}", it.from, it.until));
        assert_eq!(
            read((UTC_TIME, "991231235959Z"), (GENERALIZED_TIME, "20500101000000Z")).unwrap(),
            "1999-12-31T23:59:59Z 2050-01-01T00:00:00Z"
        );
        for wrong in [(UTC_TIME, "9912312359Z"), (UTC_TIME, "991331235959Z"), (2, "991231235959Z"), (UTC_TIME, "")] {
            assert_eq!(read((UTC_TIME, "991231235959Z"), wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_real_one_is_read_and_no_part_of_it() {
        let pem = include_bytes!("../../../tests/support/kube/tls/server.pem");
        let der = CertificateDer::from_pem_slice(pem).unwrap();
        let validity = Validity::of(&der).unwrap();
        assert!(validity.from < validity.until);
        for length in 0..der.len() {
            assert_eq!(Validity::of(&der[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_fault_is_one_at_its_time() {
        let read = |text: &str| text.parse::<Timestamp>().unwrap();
        let validity = Validity { from: read("2020-01-01T00:00:00Z"), until: read("2021-01-01T00:00:00Z") };
        let fault = |now: &str| validity.fault(read(now)).unwrap_or_default();
        assert!(fault("2019-06-01T00:00:00Z").contains("not valid before 2020-01-01"));
        assert_eq!(fault("2020-06-01T00:00:00Z"), "");
        assert!(fault("2021-06-01T00:00:00Z").contains("expired at 2021-01-01"));
    }
}
