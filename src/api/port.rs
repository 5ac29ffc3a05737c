//! A port in a path.

use serde_json::Value;

use super::failure::Failure;
use crate::{
    model::{read, violation::Report},
    runtime::{ErrorKind, RuntimeError},
};

/// Reads a port.
///
/// # Errors
///
/// It is no number (422), or none that a port has (400).
pub fn parse(port: &str) -> Result<u16, Failure> {
    let mut report = Report::new("path");
    let number = report.within("port", |report| read::integer(report, &Value::from(port), 1..=u64::from(u16::MAX)));
    match report.finish(number) {
        Err(invalid) if invalid.0.iter().any(|violation| violation.rule == "int_parsing") => Err(invalid.into()),
        read => read.ok().flatten().and_then(|number| u16::try_from(number).ok()).ok_or_else(|| out_of_range().into()),
    }
}

fn out_of_range() -> RuntimeError {
    RuntimeError::new(ErrorKind::InvalidPort, "Port must be between 1 and 65535.")
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::error::ApiError;

    #[test]
    fn junk_is_one_fault_and_a_number_out_of_range_another() {
        assert_eq!(parse("1").ok(), Some(1));
        assert_eq!(parse("65535").ok(), Some(65_535));
        for port in ["0", "65536", "-1", "99999999999999999999999999999999999999999999"] {
            let error = ApiError::from(parse(port).unwrap_err());
            assert_eq!((error.status, error.body.code), (StatusCode::BAD_REQUEST, "DOCKER::INVALID_PORT"), "{port}");
        }
        for port in ["", "abc", "8a", "80.5", "0x50", "\u{0668}"] {
            let error = ApiError::from(parse(port).unwrap_err());
            assert_eq!(error.status, StatusCode::UNPROCESSABLE_ENTITY, "{port}");
            let detail = error.body.detail.unwrap();
            assert_eq!((&detail[0]["type"], &detail[0]["loc"][1]), (&"int_parsing".into(), &"port".into()), "{port}");
        }
    }
}
