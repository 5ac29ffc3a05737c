//! A port in a path.

use crate::{
    model::{
        endpoint::{check_port, read_port},
        violation::Report,
    },
    problem::failure::Failure,
};

/// Reads a port.
///
/// # Errors
///
/// It is no number (422), or none that a port has (400).
pub fn parse(port: &str) -> Result<u16, Failure> {
    if port.len() <= 5
        && let Ok(port @ 1..) = port.parse()
    {
        return Ok(port);
    }
    let mut report = Report::new("path");
    let number = report.within("port", |report| read_port(report, port));
    let port = report.finish(number)?.unwrap_or(0);
    check_port(port)?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::problem::ApiError;

    #[test]
    fn junk_is_one_fault_and_a_number_out_of_range_another() {
        assert_eq!(parse("1").ok(), Some(1));
        assert_eq!(parse("65535").ok(), Some(65_535));
        let zeros = format!("{}8000", "0".repeat(40_000));
        for port in ["0", "65536", "-1", "99999999999999999999999999999999999999999999", "008000", &zeros] {
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
