//! What `dev` does besides serving: it has a key, and says what to try first.
//!
//! Whoever may call the gateway of the process runtime runs programs as its user. The loopback interface is shared by all
//! users of the machine, and by pages of their own web servers, so nobody is asked for less than a key by default.

use std::{io, path::PathBuf};

use crate::{
    config::{Config, Listen, Loaded, env},
    keys::{Keys, is_sendable},
    secret::Secret,
};

/// Who may call.
#[derive(Debug)]
pub enum Key {
    /// Anyone on this machine (`--no-key`).
    Open,
    /// Who has the key of the environment ([`env::API_KEY`]).
    Given(Secret),
    /// Who has the key that was made for this run, and was printed.
    Made(Secret),
}

impl Key {
    /// The key of the environment, or a new one; none if that `is_open`, which is said on the command line and goes first.
    /// A line's end behind the key of the environment is no part of it, and a blank one is none.
    ///
    /// # Errors
    /// The system gives no random bytes, or no client can send the key of the environment.
    pub fn choose(is_open: bool, env: env::Lookup<'_>) -> io::Result<Self> {
        if is_open {
            return Ok(Self::Open);
        }
        let given = env(env::API_KEY).map(|key| key.trim_end_matches(['\r', '\n']).to_owned());
        match given.filter(|key| !key.trim().is_empty()) {
            Some(key) if !is_sendable(&key) => Err(io::Error::other(format!(
                "{} begins or ends with a blank, or has a control character in it: no header can carry it",
                env::API_KEY
            ))),
            Some(key) => Ok(Self::Given(Secret::new(key))),
            None => Ok(Self::Made(Secret::random()?)),
        }
    }

    /// The key, if there is one.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Open => None,
            Self::Given(key) | Self::Made(key) => Some(key),
        }
    }

    /// What a shell hands the key's header to curl with, by a pipe. The key of the environment is named and not shown.
    fn pipe(&self) -> String {
        match self {
            Self::Open => String::new(),
            Self::Given(_) => format!("printf 'OPEN-SANDBOX-API-KEY: %s\\n' \"${}\" | ", env::API_KEY),
            Self::Made(key) => format!("echo OPEN-SANDBOX-API-KEY: {} | ", key.expose()),
        }
    }
}

/// The configuration of `dev`: on this port, with this key, and the viewer on the next one.
pub fn configuration(port: u16, key: &Key, env: env::Lookup<'_>) -> Loaded {
    let (mut config, warnings) = Config::dev(env);
    config.server.port = port;
    config.ui.listen = port.checked_add(1).map(|port| Listen { host: config.server.host.clone(), port });
    config.server.keys = key.secret().cloned().map(Keys::one).unwrap_or_default();
    Loaded { config, warnings, source: PathBuf::new() }
}

/// What to try first on the server at `address`: a sandbox that prints, its log, the page that shows it, if there is one at
/// `viewer`, and the official SDKs.
///
/// The key goes to curl through its standard input: every user of the machine may read the arguments of a process.
pub fn welcome(address: &str, viewer: Option<&str>, key: &Key) -> String {
    let option = key.secret().map_or("", |_| " -H @-");
    let (sdk_key, note) = match key {
        Key::Open => (
            String::new(),
            "There is no key: any user of this machine, and any page of its own web servers, may run programs as you.\n\n",
        ),
        Key::Given(_) => (format!("OPEN_SANDBOX_API_KEY=\"${}\" ", env::API_KEY), ""),
        Key::Made(key) => (format!("OPEN_SANDBOX_API_KEY={} ", key.expose()), ""),
    };
    let viewer = viewer.map(|address| {
        let with = match key {
            Key::Open => String::new(),
            Key::Given(_) => format!("  (its key is that of {})", env::API_KEY),
            Key::Made(key) => format!("  (its key is {})", key.expose()),
        };
        format!("To watch it in a browser:\n\n  http://{address}/ui/{with}\n\n")
    });
    WELCOME
        .replace("{pipe}", &key.pipe())
        .replace("{option}", option)
        .replace("{sdk_key}", &sdk_key)
        .replace("{note}", note)
        .replace("{viewer}", viewer.as_deref().unwrap_or_default())
        .replace("{address}", address)
}

const WELCOME: &str = r#"
Try it in another terminal:

  {pipe}curl -s http://{address}/v1/sandboxes{option} -H 'Content-Type: application/json' -d '{"image":{"uri":"any"},"resourceLimits":{},"metadata":{"name":"hello"},"entrypoint":["sh","-c","i=0; while :; do i=$((i+1)); echo line $i; sleep 1; done"]}'
  {pipe}curl -N{option} "http://{address}/v1/sandboxes/$({pipe}curl -s{option} 'http://{address}/v1/sandboxes?metadata=name%3Dhello' | grep -o '"id":"[^"]*' | head -1 | cut -d'"' -f4)/logs?follow=true&timestamps=true"

{viewer}For the official SDKs and osb:

  export {sdk_key}OPEN_SANDBOX_DOMAIN={address}

{note}Ctrl-C ends the gateway and its sandboxes.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(is_open: bool, variable: Option<&str>) -> Key {
        Key::choose(is_open, &|name| variable.filter(|_| name == env::API_KEY).map(str::to_owned)).unwrap()
    }

    #[test]
    fn a_key_is_given_or_made_unless_none_is_wanted() {
        assert!(matches!(chosen(true, Some("k")), Key::Open));
        assert!(matches!(chosen(false, Some("k 1\r\n")), Key::Given(key) if key.expose() == "k 1"));
        for blank in [None, Some(""), Some(" \n")] {
            let [first, second] = [chosen(false, blank), chosen(false, blank)];
            let (Key::Made(first), Key::Made(second)) = (first, second) else { panic!("{blank:?}") };
            assert!(first.expose().len() == 32 && first.expose().bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert_ne!(first.expose(), second.expose());
        }
    }

    #[test]
    fn proxies_are_trusted_as_the_environment_says() {
        let of = |proxies: &str| {
            let env = |name: &str| (name == env::FORWARDED_ALLOW_IPS).then(|| proxies.to_owned());
            let Loaded { config, warnings, .. } = configuration(1, &Key::Open, &env);
            (config.server.trusted_proxies.trusts([127, 0, 0, 1].into()), warnings)
        };
        assert_eq!(of(""), (false, vec![]));
        let (is_trusted, warnings) = of("127.0.0.1,nonsense");
        assert!(is_trusted && warnings.len() == 1 && warnings[0].contains("nonsense"), "{warnings:?}");
    }

    #[test]
    fn a_key_that_no_client_can_send_is_refused() {
        for key in [" k", "k\t", "a\nb", "a\u{7f}"] {
            let error = Key::choose(false, &|_| Some(key.to_owned())).unwrap_err().to_string();
            assert!(error.contains(env::API_KEY) && !error.contains(key), "{error}");
        }
    }

    #[test]
    fn only_a_key_that_was_made_is_shown() {
        let made = chosen(false, None);
        let Key::Made(key) = &made else { panic!() };
        assert_eq!(welcome("x:1", None, &made).matches(key.expose()).count(), 4);
        assert_eq!(welcome("x:1", Some("x:2"), &made).matches(key.expose()).count(), 5);
        let given = welcome("x:1", Some("x:2"), &chosen(false, Some("hidden")));
        assert!(given.contains("  http://x:2/ui/  (its key is that of OPENSANDBOX_SERVER_API_KEY)\n"), "{given}");
        assert!(
            !given.contains("hidden") && given.contains("$OPENSANDBOX_SERVER_API_KEY\" | curl -N -H @- "),
            "{given}"
        );
        let open = welcome("x:1", None, &Key::Open);
        assert!(!open.contains("KEY") && open.contains("\n  curl -N \"http://x:1/v1/"), "{open}");
        for text in [given, open] {
            assert!(
                !["{address}", "{pipe}", "{option}", "{note}", "{sdk_key}", "{viewer}"]
                    .iter()
                    .any(|place| text.contains(place))
            );
        }
    }
}
