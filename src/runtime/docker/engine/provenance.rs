//! Which labels are a container's own, and which it only has from its image.
//!
//! An image that was committed from a sandbox carries the sandbox's labels, and the engine gives them to every container
//! of that image. Such a container is not a sandbox: taken for one, it would be removed with the next deletion or at
//! the time that its label names. The container says which image it is of, by an id that no tag can move; a label that is
//! the same on both came with the image. Servers give each sandbox an id of its own, so that a sandbox made of such an
//! image differs from it.
//!
//! An image that is gone or cannot be inspected tells nothing. Then the name decides, which no image can give: a sandbox's
//! container is called `sandbox-<id>`, its sidecar `sandbox-egress-<id>` (docker-runtime.md §2).

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bollard::{
    errors::Error as EngineError,
    models::{ContainerInspectResponse, ContainerSummary},
};
use futures_util::{StreamExt, stream};

use crate::model::labels::RESERVED_PREFIX;

use super::{Engine, is_missing, labels, names};

/// The labels that make a container a sandbox or a sidecar, or have a deletion remove more than the container. The rest of
/// what an image brings only shows. `manual-cleanup` is not among them: a restored sandbox may have asked for it again.
const DECISIVE: [&str; 8] = [
    labels::ID,
    labels::SIDECAR_FOR,
    labels::EXPIRES_AT,
    labels::MANAGED_BY,
    labels::BUCKETS,
    labels::BUCKET_MARKS,
    labels::EGRESS_TOKEN,
    labels::SNAPSHOT_ID,
];

/// How many images are remembered. An image's labels never change.
const MAX_IMAGES: usize = 4096;

/// How long an image that could not be inspected is not asked for again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The longest wait for one image.
const IMAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many images are inspected at the same time.
const INSPECTIONS: usize = 8;

/// What is known of images, by their ids.
#[derive(Debug, Default)]
pub(super) struct Images {
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone)]
enum Known {
    /// Its labels below `opensandbox.io/`.
    Labels(Arc<HashMap<String, String>>),
    /// It is gone or could not be inspected, at this time.
    Nothing(Instant),
}

impl Images {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an image, if that is not too old.
    fn of(&self, image: &str) -> Option<Known> {
        let known = self.lock().get(image)?.clone();
        match known {
            Known::Nothing(when) if when.elapsed() > RETRY_AFTER => None,
            known => Some(known),
        }
    }

    fn keep(&self, image: &str, known: Known) {
        let mut all = self.lock();
        if all.len() >= MAX_IMAGES {
            all.clear();
        }
        all.insert(image.to_owned(), known);
    }
}

impl Engine {
    /// Takes away the decisive labels that an inspected container has only from its image.
    pub(super) async fn disown_inspected(&self, container: &mut ContainerInspectResponse) {
        let Some(labels) = container.config.as_mut().and_then(|config| config.labels.as_mut()) else { return };
        if !is_marked(labels) {
            return;
        }
        let image = self.image_labels(container.image.as_deref().unwrap_or_default()).await;
        let names = container.name.as_slice();
        disown(labels, image.as_deref(), names);
    }

    /// The same for the containers of a list.
    pub(super) async fn disown_listed(&self, containers: &mut [ContainerSummary]) {
        let marked = |container: &&mut ContainerSummary| container.labels.as_ref().is_some_and(is_marked);
        let image = |container: &ContainerSummary| container.image_id.clone().unwrap_or_default();
        let images: HashSet<String> = containers.iter_mut().filter(marked).map(|container| image(container)).collect();
        let labels = stream::iter(images).map(|image| async move {
            let labels = self.image_labels(&image).await;
            (image, labels)
        });
        let labels: HashMap<_, _> = labels.buffer_unordered(INSPECTIONS).collect().await;
        for container in containers.iter_mut().filter(marked) {
            let image = labels.get(&image(container)).and_then(Option::as_deref);
            let names = container.names.as_deref().unwrap_or_default();
            if let Some(labels) = &mut container.labels {
                disown(labels, image, names);
            }
        }
    }

    /// The labels of an image below `opensandbox.io/`; nothing when they cannot be told. An engine call the first time only.
    async fn image_labels(&self, image: &str) -> Option<Arc<HashMap<String, String>>> {
        let known = match self.images.of(image) {
            Some(known) => known,
            None => {
                let known = self.ask_for_image(image).await;
                self.images.keep(image, known.clone());
                known
            }
        };
        match known {
            Known::Labels(labels) => Some(labels),
            Known::Nothing(_) => None,
        }
    }

    async fn ask_for_image(&self, image: &str) -> Known {
        let inspected = async {
            // Without an id there is none to ask for, and the path would be another.
            if image.is_empty() {
                return Err(EngineError::RequestTimeoutError);
            }
            self.api.inspect_image(image).await
        };
        match tokio::time::timeout(IMAGE_TIMEOUT.min(self.timeout), inspected)
            .await
            .unwrap_or(Err(EngineError::RequestTimeoutError))
        {
            Ok(found) => {
                let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
                let ours = labels.into_iter().filter(|(key, _)| key.starts_with(RESERVED_PREFIX)).collect();
                Known::Labels(Arc::new(ours))
            }
            Err(error) => {
                if !is_missing(&error) {
                    tracing::warn!(image, %error, "an image could not be inspected; its containers count by their names");
                }
                Known::Nothing(Instant::now())
            }
        }
    }
}

/// Whether the labels claim that a container is a sandbox or a sidecar.
fn is_marked(labels: &HashMap<String, String>) -> bool {
    labels.contains_key(labels::ID) || labels.contains_key(labels::SIDECAR_FOR)
}

/// Takes away what is not the container's own. `names` are its names as the engine tells them, each after a slash.
fn disown(labels: &mut HashMap<String, String>, image: Option<&HashMap<String, String>>, names: &[String]) {
    if let Some(image) = image {
        for key in DECISIVE {
            if labels.get(key).is_some_and(|value| image.get(key) == Some(value)) {
                labels.remove(key);
            }
        }
        return;
    }
    let is_called = |name: String| names.iter().any(|known| known.strip_prefix('/') == Some(name.as_str()));
    if !labels.get(labels::ID).is_some_and(|id| is_called(names::sandbox(id))) {
        labels.remove(labels::ID);
    }
    if !labels.get(labels::SIDECAR_FOR).is_some_and(|id| is_called(names::sidecar(id))) {
        labels.remove(labels::SIDECAR_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn left(own: &[(&str, &str)], image: Option<&[(&str, &str)]>, name: &str) -> Vec<String> {
        let mut all = labels(own);
        disown(&mut all, image.map(labels).as_ref(), &[name.to_owned()]);
        let mut keys: Vec<String> = all.into_keys().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn what_is_the_image_s_is_not_the_container_s() {
        let inherited = [(labels::ID, "x"), (labels::EXPIRES_AT, "t"), (labels::MANAGED_BY, "[\"v\"]"), ("owner", "a")];
        for name in ["/other", "/sandbox-x"] {
            assert_eq!(left(&inherited, Some(&inherited), name), ["owner"]);
        }
    }

    /// As the existing server restores a copy: with an id of its own, and with what the copied sandbox had besides.
    #[test]
    fn a_restored_sandbox_is_one_without_its_source_s_belongings() {
        let image = [
            (labels::ID, "source"),
            (labels::EXPIRES_AT, "t"),
            (labels::MANAGED_BY, "[\"v\"]"),
            (labels::EGRESS_TOKEN, "s"),
        ];
        let own = [
            (labels::ID, "x"),
            (labels::MANUAL_CLEANUP, "true"),
            (labels::SNAPSHOT_ID, "s"),
            image[1],
            image[2],
            image[3],
        ];
        assert_eq!(left(&own, Some(&image), "/sandbox-x"), [labels::ID, labels::MANUAL_CLEANUP, labels::SNAPSHOT_ID]);
    }

    #[test]
    fn without_its_image_a_container_is_what_its_name_says() {
        let own = [(labels::ID, "x"), (labels::EXPIRES_AT, "t")];
        assert_eq!(left(&own, None, "/sandbox-x"), [labels::EXPIRES_AT, labels::ID]);
        for name in ["/other", "/sandbox-xx", "sandbox-x", "/sandbox-"] {
            assert_eq!(left(&own, None, name), [labels::EXPIRES_AT], "{name}");
        }
        let sidecar = [(labels::SIDECAR_FOR, "x")];
        assert_eq!(left(&sidecar, None, "/sandbox-egress-x"), [labels::SIDECAR_FOR]);
        assert!(left(&sidecar, None, "/sandbox-x").is_empty());
    }

    #[test]
    fn what_is_known_of_images_is_bounded() {
        let images = Images::default();
        for number in 0..=MAX_IMAGES {
            images.keep(&number.to_string(), Known::Labels(Arc::default()));
        }
        assert!(images.lock().len() <= MAX_IMAGES && images.of(&MAX_IMAGES.to_string()).is_some());
        let now = Instant::now();
        images.keep("gone", Known::Nothing(now));
        assert!(images.of("gone").is_some());
        if let Some(long_ago) = now.checked_sub(RETRY_AFTER * 2) {
            images.keep("gone", Known::Nothing(long_ago));
            assert!(images.of("gone").is_none(), "it is asked for again");
        }
    }
}
