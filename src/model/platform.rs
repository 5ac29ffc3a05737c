//! Which platforms a client may ask for (http-api.md §6.1).

use super::sandbox::Platform;
use crate::error::{Error, Family, Kind};

impl Platform {
    /// The platform in the spelling of the engines: trimmed and in lower case.
    ///
    /// # Errors
    /// ([`Family::Parameter`], [`Kind::Invalid`]) for another system or architecture than the known ones.
    pub fn normalised(&self) -> Result<Self, Error> {
        Ok(Self {
            os: one_of("os", &self.os, ["linux", "windows"])?,
            arch: one_of("arch", &self.arch, ["amd64", "arm64"])?,
        })
    }
}

fn one_of(member: &str, value: &str, known: [&str; 2]) -> Result<String, Error> {
    let value = value.trim().to_lowercase();
    if known.contains(&value.as_str()) {
        return Ok(value);
    }
    let [first, second] = known;
    let message = format!("Unsupported platform.{member} '{value}'. Supported values: ['{first}', '{second}'].");
    Err(Error::new(Family::Parameter, Kind::Invalid, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(os: &str, arch: &str) -> Result<(String, String), String> {
        let platform = Platform { os: os.to_owned(), arch: arch.to_owned() };
        platform.normalised().map(|p| (p.os, p.arch)).map_err(|error| error.message)
    }

    #[test]
    fn spelling_does_not_matter() {
        assert_eq!(normalised(" Linux ", "AMD64"), Ok(("linux".to_owned(), "amd64".to_owned())));
    }

    #[test]
    fn unknown_ones_are_named() {
        assert_eq!(
            normalised("darwin", "amd64").unwrap_err(),
            "Unsupported platform.os 'darwin'. Supported values: ['linux', 'windows']."
        );
        assert_eq!(
            normalised("linux", "mips").unwrap_err(),
            "Unsupported platform.arch 'mips'. Supported values: ['amd64', 'arm64']."
        );
    }
}
