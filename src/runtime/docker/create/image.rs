//! Images: there, or pulled (docker-runtime.md §3.1).

use std::collections::HashMap;

use bollard::{
    auth::DockerCredentials, errors::Error as EngineError, models::ImageInspect, query_parameters::CreateImageOptions,
};
use futures_util::StreamExt;

use crate::{
    error::{Error, Family, Kind},
    model::{
        create::{ImageSource, RegistryAuth},
        sandbox::Platform,
    },
};

use crate::runtime::docker::engine::{
    Engine, is_missing,
    mask::{self, Mask},
    platform_text, text,
};

/// The longest reference of an image, in bytes. A repository's name has at most 255 (distribution/reference).
const MAX_REFERENCE: usize = 1024;

/// What creation needs to know of an image that is there.
#[derive(Debug)]
pub(super) struct LocalImage {
    pub(in crate::runtime::docker) labels: HashMap<String, String>,
    /// Its platform, when it says so.
    pub(in crate::runtime::docker) platform: Option<Platform>,
}

/// Makes sure that the image is there for `platform`, or for the engine's own when there is none.
pub(in crate::runtime::docker) async fn ensure(
    engine: &Engine,
    source: &ImageSource,
    platform: Option<&Platform>,
) -> Result<LocalImage, Error> {
    let failure = Failure { source };
    if !is_reference(&source.uri) {
        return Err(failure.pull("invalid reference format"));
    }
    match inspect(engine, &source.uri).await.map_err(|error| failure.inspect(&error))? {
        Some(image) if is_of(&image, platform.unwrap_or(&engine.platform)) => return Ok(image),
        Some(_) => pull(engine, source, Some(platform.unwrap_or(&engine.platform))).await,
        None => pull(engine, source, platform).await,
    }
    .map_err(|error| failure.pull(&text(&error)))?;
    let image = inspect(engine, &source.uri).await.map_err(|error| failure.inspect(&error))?;
    image.ok_or_else(|| failure.pull("the image is missing after it was pulled"))
}

/// An image that this engine made itself. No registry has it, so it is never pulled.
pub(in crate::runtime::docker) async fn present(engine: &Engine, source: &ImageSource) -> Result<LocalImage, Error> {
    let failure = Failure { source };
    let image = inspect(engine, &source.uri).await.map_err(|error| failure.inspect(&error))?;
    image.ok_or_else(|| failure.pull("the snapshot's image is no longer on this engine"))
}

async fn inspect(engine: &Engine, reference: &str) -> Result<Option<LocalImage>, EngineError> {
    match engine.within(engine.api.inspect_image(reference)).await {
        Ok(image) => Ok(Some(image.into())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

impl From<ImageInspect> for LocalImage {
    fn from(image: ImageInspect) -> Self {
        let platform =
            image.os.zip(image.architecture).map(|(os, arch)| Platform { os, arch: canonical(&arch).to_owned() });
        let platform = platform.filter(|platform| !platform.os.is_empty() && !platform.arch.is_empty());
        Self { labels: image.config.and_then(|config| config.labels).unwrap_or_default(), platform }
    }
}

/// An image that does not tell its platform is of every one.
fn is_of(image: &LocalImage, wanted: &Platform) -> bool {
    let same = |platform: &Platform| platform.os == wanted.os && platform.arch == canonical(&wanted.arch);
    image.platform.as_ref().is_none_or(same)
}

fn canonical(arch: &str) -> &str {
    match arch {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" | "arm64/v8" | "arm64v8" => "arm64",
        other => other,
    }
}

async fn pull(engine: &Engine, source: &ImageSource, platform: Option<&Platform>) -> Result<(), EngineError> {
    let options = CreateImageOptions {
        from_image: Some(source.uri.clone()),
        tag: default_tag(&source.uri).map(str::to_owned),
        platform: platform_text(platform),
        ..Default::default()
    };
    let credentials = match &source.auth {
        Some(auth) => Some(of_request(auth)),
        None => engine.client_config.credentials(&source.uri).await,
    };
    let image = mask::reference(&source.uri);
    tracing::info!(image, has_credentials = credentials.is_some(), "pulling");
    let mask = secrets(credentials.as_ref());
    let mut progress = engine.api.create_image(Some(options), None, credentials);
    // A pull may take long; what is limited is the silence between two reports.
    loop {
        let step = engine.within(async { progress.next().await.transpose() }).await;
        let Some(step) = step.map_err(|error| mask.error(error))? else { return Ok(()) };
        tracing::trace!(image, status = step.status, "pulling");
    }
}

fn of_request(auth: &RegistryAuth) -> DockerCredentials {
    let RegistryAuth { username, password } = auth.clone();
    DockerCredentials { username: Some(username), password: Some(password), ..Default::default() }
}

/// What of credentials must not be told; an address of a registry may be.
fn secrets(credentials: Option<&DockerCredentials>) -> Mask {
    let secrets = credentials.into_iter().flat_map(|all| {
        [&all.password, &all.username, &all.identitytoken, &all.registrytoken, &all.auth].into_iter().flatten()
    });
    Mask::new(&[], secrets)
}

/// Without a tag the engine would pull all tags that there are.
fn default_tag(reference: &str) -> Option<&'static str> {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    (!reference.contains('@') && !last.contains(':')).then_some("latest")
}

/// Whether the text can stand in the engine's path as it is. The engine checks the rest.
fn is_reference(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let segments = || text.split('/');
    text.len() <= MAX_REFERENCE
        && text.bytes().all(is_word)
        && segments().all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// EngineError texts about one image.
struct Failure<'a> {
    source: &'a ImageSource,
}

impl Failure<'_> {
    fn pull(&self, cause: &str) -> Error {
        self.failed("pull", cause)
    }

    fn inspect(&self, error: &EngineError) -> Error {
        self.failed("inspect", &text(error))
    }

    fn failed(&self, what: &str, cause: &str) -> Error {
        let login = mask::login(&self.source.uri).to_owned();
        let password = login.rsplit_once(':').map(|(_, password)| password.to_owned());
        let cause = Mask::new(&[], [&login].into_iter().chain(&password)).apply(cause);
        let uri = mask::reference(&self.source.uri);
        let uri = &uri[..uri.floor_char_boundary(MAX_REFERENCE)];
        tracing::warn!(image = uri, cause, "could not {what} an image");
        Error::new(Family::Image, Kind::Failed, format!("Failed to {what} image {uri}: {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_one_tag() {
        assert_eq!(default_tag("busybox"), Some("latest"));
        assert_eq!(default_tag("registry:5000/a/b"), Some("latest"));
        assert_eq!(default_tag("registry:5000/a/b:1"), None);
        assert_eq!(default_tag("a@sha256:00"), None);
    }

    #[test]
    fn no_reference_leaves_its_place_in_the_path() {
        for text in ["busybox", "registry:5000/a/b:1", "a@sha256:00", "sha256:00"] {
            assert!(is_reference(text), "{text}");
        }
        for text in ["", "..", "a/../b", "/a", "a//b", "a?b", "a#b", "a%2f", "a b", "a\\..\\b", "a\n"] {
            assert!(!is_reference(text), "{text}");
        }
    }

    #[test]
    fn credentials_are_in_no_error() {
        let credentials = of_request(&RegistryAuth { username: "alice".to_owned(), password: "s3cr".to_owned() });
        let error = EngineError::DockerStreamError { error: "denied for alice:s3cr".to_owned() };
        assert_eq!(text(&secrets(Some(&credentials)).error(error)), "denied for ***:***");
    }

    #[test]
    fn a_login_in_a_reference_is_in_no_error() {
        let source = ImageSource { uri: "u:SECRET@host/x".to_owned(), auth: None };
        let error = Failure { source: &source }.pull("bad u:SECRET@host/x, bad library/u:SECRET, bad SECRET");
        assert_eq!(error.message, "Failed to pull image ***@host/x: bad ***@host/x, bad library/***, bad ***");
    }

    #[test]
    fn a_long_reference_is_cut_in_an_error() {
        let source = ImageSource { uri: "é".repeat(40_000), auth: None };
        assert!(Failure { source: &source }.pull("no").message.len() < 2 * MAX_REFERENCE);
    }

    #[test]
    fn platforms_match_by_any_name() {
        let platform = |os: &str, arch: &str| Platform { os: os.to_owned(), arch: arch.to_owned() };
        let image = |platform| LocalImage { labels: HashMap::new(), platform };
        assert!(is_of(&image(Some(platform("linux", "amd64"))), &platform("linux", "x86_64")));
        assert!(!is_of(&image(Some(platform("linux", "arm64"))), &platform("linux", "amd64")));
        assert!(is_of(&image(None), &platform("linux", "amd64")));
    }
}
