//! The API key (http-api.md §4).

use http::HeaderMap;

use crate::{config::secret::Secret, error::ApiError};

/// The header that carries the key.
pub const API_KEY: &str = "open-sandbox-api-key";

/// Paths that begin like this need no key.
const EXEMPT: [&str; 5] = ["/health", "/version", "/docs", "/redoc", "/openapi.json"];

/// Checks the key of a request for `path` (percent-decoded). Without a configured key everyone may call.
pub fn check(key: Option<&Secret>, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(key) = key else { return Ok(()) };
    if EXEMPT.iter().any(|exempt| path.starts_with(exempt)) {
        return Ok(());
    }
    match headers.get(API_KEY).map(|presented| presented.as_bytes()) {
        None | Some(b"") => Err(ApiError::missing_key()),
        Some(presented) if key.matches(presented) => Ok(()),
        Some(_) => Err(ApiError::invalid_key()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn checked(path: &str, presented: Option<&'static str>) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(presented) = presented {
            headers.insert(API_KEY, HeaderValue::from_static(presented));
        }
        check(Some(&Secret::new("k-test")), path, &headers).map_err(|error| error.body.code)
    }

    #[test]
    fn only_the_exact_key_is_accepted() {
        assert_eq!(checked("/v1/sandboxes", Some("k-test")), Ok(()));
        assert_eq!(checked("/v1/sandboxes", None), Err("MISSING_API_KEY"));
        assert_eq!(checked("/v1/sandboxes", Some("")), Err("MISSING_API_KEY"));
        for wrong in ["k-tes", "k-test2", "K-TEST", "nope"] {
            assert_eq!(checked("/v1/sandboxes", Some(wrong)), Err("INVALID_API_KEY"));
        }
        assert!(check(None, "/v1/sandboxes", &HeaderMap::new()).is_ok());
    }

    #[test]
    fn exempt_paths_are_exempt_at_the_root_only() {
        for path in ["/health", "/healthfoo", "/version", "/openapi.json", "/docs/x"] {
            assert_eq!(checked(path, None), Ok(()), "{path}");
        }
        for path in ["/v1/health", "/nope", "/", "//health", "/sandboxes"] {
            assert_eq!(checked(path, None), Err("MISSING_API_KEY"), "{path}");
        }
    }
}
