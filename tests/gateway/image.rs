//! The container image, run as `deploy/kubernetes` runs it: the user, the rights, the arguments, the configuration and the mounts
//! are those of the manifests, the engine plays the kubelet, and the test API server the cluster.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    client::{get_once, request},
    docker::docker,
    eventually,
    gateway::free_port,
    kube::{
        Role, Server,
        resource::{BATCH_SANDBOXES, NAMESPACES},
        tls,
    },
};

const NAMESPACE: &str = "opensandbox";
const ID: &str = "a20d40a3-e37b-4a88-80df-7f81c2465e44";
const KEY: &str = "the-key-of-the-test";

/// An image of the program under test; it is removed when this is dropped.
struct Image(String);

impl Image {
    fn make() -> Self {
        let image = Self(format!("osb-test/gateway:{}", std::process::id()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/image");
        let program = env!("CARGO_BIN_EXE_opensandbox-gateway");
        let output = Command::new(script).args(["--program", program, "--tag", &image.0]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // It may not have been made, and a panic in a drop would hide the test's own.
        let _ = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

/// A container of it; the same.
struct Running(String);

impl Running {
    /// What `docker inspect` says of its state.
    fn state(&self) -> Value {
        serde_json::from_str(&docker(&["inspect", "--format", "{{json .State}}", &self.0])).unwrap()
    }

    /// Both of its outputs.
    fn log(&self) -> String {
        let output = Command::new("docker").args(["logs", &self.0]).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.0]).output();
    }
}

/// The object of a manifest with one.
fn manifest(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes").join(name);
    serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Lays a folder as the kubelet lays a ConfigMap's and a token's: files behind two links, so that all change at once.
fn mount(folder: &Path, files: &[(&str, &str)]) {
    let version = folder.join("..2026_11_26_12_00_00.1");
    fs::create_dir_all(&version).unwrap();
    symlink(version.file_name().unwrap(), folder.join("..data")).unwrap();
    for (name, text) in files {
        fs::write(version.join(name), text).unwrap();
        symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
    }
    for folder in [folder, &version] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// The options of `docker run` that stand for the container of the Deployment, with these folders as its configuration, its home
/// and its account.
fn options(deployment: &Value, config: &Path, home: &Path, account: &Path) -> Vec<String> {
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let (of_pod, own) = (&pod["securityContext"], &container["securityContext"]);
    let mut options: Vec<String> = ["run", "--detach", "--network", "host"].map(str::to_owned).into();
    options.push(format!("--user={}:{}", of_pod["runAsUser"], of_pod["runAsGroup"]));
    options.push(format!("--read-only={}", own["readOnlyRootFilesystem"]));
    for capability in own["capabilities"]["drop"].as_array().unwrap() {
        options.push(format!("--cap-drop={}", capability.as_str().unwrap()));
    }
    assert_eq!(own["allowPrivilegeEscalation"], false);
    options.push("--security-opt=no-new-privileges".to_owned());
    let volumes = pod["volumes"].as_array().unwrap();
    for mount in container["volumeMounts"].as_array().unwrap() {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let path = mount["mountPath"].as_str().unwrap();
        options.push(match volume["emptyDir"].is_object() {
            true => format!("--volume={}:{path}", home.display()),
            false => format!("--volume={}:{path}:ro", config.display()),
        });
    }
    options.push(format!("--volume={}:/var/run/secrets/kubernetes.io/serviceaccount:ro", account.display()));
    options
}

/// The number behind a field of a process's status.
fn status(pid: &str, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel has the field");
    line.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn the_image_serves_a_namespace_as_the_manifests_run_it() {
    let server = Server::start_tls();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    server.create(&NAMESPACES, "", namespace);
    let labels = json!({"opensandbox.io/id": ID});
    let sandbox = json!({"apiVersion": BATCH_SANDBOXES.api_version(), "kind": "BatchSandbox",
        "metadata": {"name": ID, "namespace": NAMESPACE, "labels": labels}, "spec": {"replicas": 1}});
    server.create(&BATCH_SANDBOXES, NAMESPACE, sandbox);
    let [http, metrics] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let toml = manifest("configmap.yaml")["data"]["config.toml"].as_str().unwrap().to_owned();
    // The engine gives the container the machine's own network, where these ports may be another's.
    let toml = toml.replace("port = 8080", &format!("port = {}", http.port()));
    let toml = toml.replace("0.0.0.0:9090", &metrics.to_string());
    let [config, home, account] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    // As the kubelet makes an emptyDir: another's, and everybody may write to it.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o2777)).unwrap();
    mount(config.path(), &[("config.toml", &toml)]);
    let token = server.gateway_token(Role::BatchSandbox, NAMESPACE);
    mount(account.path(), &[("token", &token), ("ca.crt", tls::CA), ("namespace", NAMESPACE)]);

    let image = Image::make();
    let deployment = manifest("deployment.yaml");
    let container = Running(format!("osb-test-gateway-{}", std::process::id()));
    let mut command = options(&deployment, config.path(), home.path(), account.path());
    let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!((env.len(), &env[0]["name"]), (1, &json!("OPENSANDBOX_SERVER_API_KEY")));
    for (name, value) in [
        ("OPENSANDBOX_SERVER_API_KEY", KEY),
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", &server.address().port().to_string()),
    ] {
        command.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    command.extend(["--name".to_owned(), container.0.clone(), image.0.clone()]);
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    command.extend(arguments.iter().map(|argument| argument.as_str().unwrap().to_owned()));
    docker(&command.iter().map(String::as_str).collect::<Vec<_>>());

    eventually("the container listens", Duration::from_secs(30), || {
        assert!(container.state()["Running"] == true, "the container ended: {}", container.log());
        std::net::TcpStream::connect(http).is_ok()
    })
    .await;
    let pid = container.state()["Pid"].to_string();
    let confined = ["Uid:", "Gid:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:"].map(|field| status(&pid, field));
    assert_eq!(confined, ["65532", "65532", "0000000000000000", "0000000000000000", "1", "2"]);
    for path in ["/health", "/ready"] {
        assert_eq!(get_once(http, path).await.status(), 200, "{path}: {}", container.log());
    }
    assert_eq!(get_once(http, "/v1/sandboxes").await.status(), 401);
    let key = format!("open-sandbox-api-key: {KEY}");
    let listed = request(http, "GET", "/v1/sandboxes", &[&key], "").await;
    assert_eq!((listed.status(), &listed.json()["items"][0]["id"]), (200, &json!(ID)), "{listed}");
    assert_eq!(get_once(metrics, "/metrics").await.status(), 200);
    assert!(!container.log().contains(KEY) && !container.log().contains(&token), "{}", container.log());

    let begun = Instant::now();
    docker(&["kill", "--signal", "TERM", &container.0]);
    assert_eq!(docker(&["wait", &container.0]).trim(), "0", "{}", container.log());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}: {}", begun.elapsed(), container.log());
}
