//! Which server is asked, and what it is shown: read as the official SDKs and `osb` read the same variables.

use http::HeaderValue;
use url::Url;

use crate::{config::env::Lookup, host::without_brackets};

/// The server, when no other is named.
const DEFAULT: &str = "localhost:8080";

/// What stands before every route.
const VERSION: &str = "/v1";

/// A server and the key for it.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) is_tls: bool,
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What stands before `/sandboxes` in a path.
    pub(super) prefix: String,
    /// The host as `Host` has it.
    pub(super) authority: String,
    /// Shown to the server and to nobody else: it is marked as sensitive.
    pub(super) key: Option<HeaderValue>,
}

impl Server {
    /// The server of `--url`, else of the environment.
    ///
    /// # Errors
    ///
    /// A text for a person; it never holds the key.
    pub(super) fn find(url: Option<&str>, env: Lookup<'_>) -> Result<Self, String> {
        let of_environment = |name| env(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let (name, text) = match url {
            Some(url) => ("--url", url.trim().to_owned()),
            None => {
                ("OPEN_SANDBOX_DOMAIN", of_environment("OPEN_SANDBOX_DOMAIN").unwrap_or_else(|| DEFAULT.to_owned()))
            }
        };
        let protocol = of_environment("OPEN_SANDBOX_PROTOCOL").unwrap_or_else(|| "http".to_owned());
        if !matches!(protocol.as_str(), "http" | "https") {
            return Err("OPEN_SANDBOX_PROTOCOL is neither http nor https".to_owned());
        }
        let key = of_environment("OPEN_SANDBOX_API_KEY").map(|key| {
            let mut key = HeaderValue::try_from(key)
                .map_err(|_| "OPEN_SANDBOX_API_KEY has a character that no header may have".to_owned())?;
            key.set_sensitive(true);
            Ok::<_, String>(key)
        });
        Self::read(&text, &protocol, key.transpose()?).map_err(|why| format!("{name}: {why}"))
    }

    fn read(text: &str, protocol: &str, key: Option<HeaderValue>) -> Result<Self, &'static str> {
        const FORMS: &str = "a server is host, host:port, or a URL with http or https";
        let whole = if text.contains("://") { text.to_owned() } else { format!("{protocol}://{text}") };
        let url = Url::parse(&whole).map_err(|_| FORMS)?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err(FORMS) };
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            return Err(FORMS);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a key is not put in a URL, but in OPEN_SANDBOX_API_KEY");
        }
        let path = url.path().trim_end_matches('/');
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self {
            is_tls: url.scheme() == "https",
            host: without_brackets(host).to_owned(),
            port,
            prefix: path.strip_suffix(VERSION).unwrap_or(path).to_owned() + VERSION,
            authority,
            key,
        })
    }

    /// What follows the path in the head of a request for this type of answer. It holds the key.
    pub(super) fn fields(&self, accept: &str) -> Vec<u8> {
        let mut fields = format!(
            " HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nUser-Agent: opensandbox-gateway/{}\r\n\
             Connection: close\r\n",
            self.authority,
            env!("CARGO_PKG_VERSION"),
        )
        .into_bytes();
        if let Some(key) = &self.key {
            for part in [b"OPEN-SANDBOX-API-KEY: ", key.as_bytes(), b"\r\n"] {
                fields.extend_from_slice(part);
            }
        }
        fields.extend_from_slice(b"\r\n");
        fields
    }

    /// The server as a person names it.
    pub(super) fn shown(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(url: Option<&str>, env: &[(&str, &str)]) -> Result<String, String> {
        let of = |name: &str| env.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        let server = Server::find(url, &of)?;
        let Server { host, port, prefix, key, .. } = &server;
        Ok(format!("{} {host} {port} {prefix} {}", server.shown(), key.is_some()))
    }

    #[test]
    fn a_server_is_named_as_for_the_sdks() {
        for (text, expected) in [
            ("localhost:8080", "http://localhost:8080 localhost 8080 /v1 false"),
            ("gw.example", "http://gw.example gw.example 80 /v1 false"),
            ("gw.example/a/b/", "http://gw.example gw.example 80 /a/b/v1 false"),
            ("HTTPS://gw.example", "https://gw.example gw.example 443 /v1 false"),
            ("https://gw.example:8443/v1/", "https://gw.example:8443 gw.example 8443 /v1 false"),
            ("http://[::1]:8080/x/v1", "http://[::1]:8080 ::1 8080 /x/v1 false"),
            ("127.0.0.1:1", "http://127.0.0.1:1 127.0.0.1 1 /v1 false"),
        ] {
            assert_eq!(find(Some(text), &[]).as_deref(), Ok(expected), "{text}");
            assert_eq!(find(None, &[("OPEN_SANDBOX_DOMAIN", text)]).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(find(None, &[]).as_deref(), Ok("http://localhost:8080 localhost 8080 /v1 false"));
        let env = [("OPEN_SANDBOX_PROTOCOL", "https"), ("OPEN_SANDBOX_DOMAIN", "a:1"), ("OPEN_SANDBOX_API_KEY", "k")];
        assert_eq!(find(None, &env).as_deref(), Ok("https://a:1 a 1 /v1 true"));
        assert_eq!(find(Some("http://b:2"), &env).as_deref(), Ok("http://b:2 b 2 /v1 true"));
    }

    #[test]
    fn what_names_no_server_is_told_without_secrets() {
        for text in [
            "",
            "http://",
            "ftp://a",
            "a b",
            "http://a?x=secret",
            "http://a/#x",
            "http://u:secret@a",
            "a:x",
            "unix:///a",
        ] {
            let error = find(Some(text), &[("OPEN_SANDBOX_API_KEY", "hidden")]).unwrap_err();
            assert!(error.starts_with("--url: ") && !error.contains("secret") && !error.contains("hidden"), "{error}");
        }
        let error = find(None, &[("OPEN_SANDBOX_API_KEY", "hid\u{7}den")]).unwrap_err();
        assert_eq!(error, "OPEN_SANDBOX_API_KEY has a character that no header may have");
        assert!(find(None, &[("OPEN_SANDBOX_PROTOCOL", "ftp")]).is_err());
    }

    #[test]
    fn a_key_is_not_shown() {
        let server = Server::find(None, &|name| (name == "OPEN_SANDBOX_API_KEY").then(|| "hidden".to_owned())).unwrap();
        assert!(!format!("{server:?}").contains("hidden"));
    }
}
