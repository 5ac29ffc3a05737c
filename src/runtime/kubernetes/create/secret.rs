//! The secret with which a sandbox's images are pulled (kubernetes-runtime.md §4.3).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::model::{
    create::{ImageSource, RegistryAuth},
    spelling::spelled,
};

/// What Docker Hub is called where `docker login` was given no host.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The secret's name.
pub(super) fn name(id: &str) -> String {
    format!("opensandbox-image-auth-{id}")
}

/// The secret, which goes with the object that owns it.
///
/// # Errors
/// None that credentials could cause.
pub(super) fn secret(id: &str, image: &ImageSource, auth: &RegistryAuth, owner: &Value) -> serde_json::Result<Value> {
    let RegistryAuth { username, password } = auth;
    let basic = BASE64_STANDARD.encode(format!("{username}:{password}"));
    let login = json!({"username": username, "password": password, "auth": basic});
    let config = spelled(&json!({"auths": {registry(&image.uri): login}}))?;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name(id), "ownerReferences": [owner]},
        "data": {".dockerconfigjson": BASE64_STANDARD.encode(config)},
    }))
}

/// The registry that an image is pulled from, as a container runtime reads its reference.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DOCKER_HUB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_the_peer_s() {
        let auth = RegistryAuth { username: "u".to_owned(), password: "p".to_owned() };
        let image = ImageSource { uri: "reg.example/ns/py:1".to_owned(), auth: None };
        let made = secret("x", &image, &auth, &json!({"uid": "o"})).unwrap();
        // As it was recorded (transcript 13).
        let data =
            "eyJhdXRocyI6IHsicmVnLmV4YW1wbGUiOiB7InVzZXJuYW1lIjogInUiLCAicGFzc3dvcmQiOiAicCIsICJhdXRoIjogImRUcHcifX19";
        let expected = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": data},
            "metadata": {"name": "opensandbox-image-auth-x", "ownerReferences": [{"uid": "o"}]}});
        assert_eq!(made, expected);
    }

    #[test]
    fn an_image_is_of_a_registry() {
        for (image, expected) in [
            ("python:3.11", DOCKER_HUB),
            ("library/python", DOCKER_HUB),
            ("reg.example/py:1", "reg.example"),
            ("reg:5000/a/b", "reg:5000"),
            ("localhost/a", "localhost"),
        ] {
            assert_eq!(registry(image), expected, "{image}");
        }
    }
}
