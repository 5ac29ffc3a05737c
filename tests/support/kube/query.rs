//! The parameters of a request.

use std::borrow::Cow;

use super::failure::Failure;

/// The parameters in their order; the first of a name counts.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes());
        Self(pairs.map(|(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into(), value.into())).collect())
    }

    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of this name; empty if there is none.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Whether the parameter is there and neither `false` nor `0`, as the API server reads booleans.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "false" && value != "0")
    }

    /// The parameter as a number.
    ///
    /// # Errors
    ///
    /// The API server's own, 400.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.parse().map_err(|_| {
            Failure::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", super::failure::quoted(value)))
        })?;
        Ok(Some(number))
    }

    /// All pairs.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}
