//! The credential plugin of a kubeconfig (`exec`): a program that prints an `ExecCredential`.
//!
//! kube runs one too, but takes a failure for no certificate when it makes a TLS configuration, does not tell when a certificate
//! expires, and cannot stop a program that hangs. Source: Kubernetes, "client-go credential plugins".

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
};

use super::failure::excerpt;

/// How long a plugin may take: it may ask a server of its own. One that takes longer is killed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes that are taken of a plugin's output; the rest is passed over.
const MAX_OUTPUT: u64 = 1024 * 1024;

/// What a plugin prints.
#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Given>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Runs the plugin of `auth` if it has one and nothing that goes before it, and puts what it gives in its place. Gives back when
/// that expires, if the plugin says so.
///
/// # Errors
///
/// The plugin gave no credentials: why, without what it printed to its standard output, since a token may be in it.
pub(super) async fn run(auth: &mut AuthInfo) -> Result<Option<Timestamp>, String> {
    let Some(exec) = auth.exec.take() else { return Ok(None) };
    let has_password = auth.username.is_some() && auth.password.is_some();
    if has_password || auth.token.is_some() || auth.token_file.is_some() || auth.auth_provider.is_some() {
        return Ok(None);
    }
    let failed = |why: String| format!("the kubeconfig's credential plugin {why}");
    let (given, expires) = given(&output(&exec).await.map_err(failed)?).map_err(failed)?;
    auth.token = given.token.map(Into::into);
    if let (Some(certificate), Some(key)) = (given.client_certificate_data, given.client_key_data) {
        auth.client_certificate_data = Some(STANDARD.encode(certificate));
        // kube writes the certificate behind the key.
        auth.client_key_data = Some(STANDARD.encode(key + "\n").into());
    }
    Ok(expires)
}

async fn output(exec: &ExecConfig) -> Result<Vec<u8>, String> {
    let path = exec.command.as_deref().ok_or("names no command")?;
    let is_interactive = exec.interactive_mode == Some(ExecInteractiveMode::Always);
    let mut spec = json!({"interactive": is_interactive});
    if exec.provide_cluster_info {
        spec["cluster"] =
            serde_json::to_value(&exec.cluster).map_err(|error| format!("cannot be told of the cluster: {error}"))?;
    }
    let info = json!({"kind": "ExecCredential", "apiVersion": exec.api_version, "spec": spec});
    let mut command = Command::new(path);
    command.args(exec.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", info.to_string());
    for pair in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
            command.env(name, value);
        }
    }
    command.stdout(Stdio::piped()).kill_on_drop(true);
    if !is_interactive {
        // A group of its own, so that what it starts is killed with it.
        command.stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    }
    let mut child = command.spawn().map_err(|error| format!("{path} cannot be started: {error}"))?;
    let finished = tokio::time::timeout(TIMEOUT, finished(&mut child)).await;
    let Ok(finished) = finished else {
        if let Some(group) = child.id().filter(|_| !is_interactive).and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It ended just now, or it is killed with `child`.
            let _ = kill_process_group(group, Signal::KILL);
        }
        return Err(format!("{path} gave nothing within {} s", TIMEOUT.as_secs()));
    };
    let (status, stdout, stderr) = finished.map_err(|error| format!("{path} cannot be read: {error}"))?;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&stderr);
    Err(format!("{path} failed ({status}): {}", excerpt(said.trim())))
}

async fn finished(child: &mut Child) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    tokio::try_join!(child.wait(), all(stdout), all(stderr))
}

/// What comes up to the end, and no more than [`MAX_OUTPUT`] of it.
async fn all(output: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut output) = output {
        (&mut output).take(MAX_OUTPUT).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut output, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

fn given(output: &[u8]) -> Result<(Given, Option<Timestamp>), String> {
    // JSON by its definition, but client-go takes YAML too. What either parser says may quote the secret.
    let credential = serde_json::from_slice::<ExecCredential>(output).ok();
    let credential =
        credential.or_else(|| serde_yaml_ng::from_slice(output).ok()).ok_or("printed no ExecCredential")?;
    let given = credential.status.ok_or("printed an ExecCredential without a status")?;
    match (&given.client_certificate_data, &given.client_key_data) {
        (Some(_), None) => return Err("gave a certificate without its key".to_owned()),
        (None, Some(_)) => return Err("gave a key without its certificate".to_owned()),
        (None, None) if given.token.as_deref().unwrap_or_default().is_empty() => {
            return Err("gave neither a token nor a certificate".to_owned());
        }
        _ => {}
    }
    let expires = given.expiration_timestamp.as_deref().map(str::parse).transpose();
    let expires = expires.map_err(|error| format!("gave an expirationTimestamp that is no time: {error}"))?;
    Ok((given, expires))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn printed(script: &str) -> Result<(AuthInfo, Option<Timestamp>), String> {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": ["-c", script],
            "env": [{"name": "WORD", "value": "from the kubeconfig"}]});
        let mut auth: AuthInfo = serde_json::from_value(json!({"exec": exec})).unwrap();
        let expires = run(&mut auth).await?;
        Ok((auth, expires))
    }

    #[tokio::test]
    async fn what_a_plugin_prints_takes_its_place() {
        let script = r#"echo '{"status": {"token": "t", "expirationTimestamp": "2026-11-27T09:00:00Z"}}'"#;
        let (auth, expires) = printed(script).await.unwrap();
        assert!(auth.exec.is_none() && auth.token.is_some() && auth.client_key_data.is_none());
        assert_eq!(expires.unwrap().to_string(), "2026-11-27T09:00:00Z");
        let (auth, expires) =
            printed("printf 'status:\\n  clientCertificateData: c\\n  clientKeyData: k\\n'").await.unwrap();
        assert_eq!((auth.client_certificate_data.as_deref(), expires), (Some("Yw=="), None));
        assert!(auth.token.is_none() && auth.client_key_data.is_some());
        printed(
            r#"[ "$WORD" = "from the kubeconfig" ] || exit 1
            case $KUBERNETES_EXEC_INFO in *'"kind":"ExecCredential"'*'"interactive":false'*) ;; *) exit 2;; esac
            cat; echo '{"status": {"token": "t"}}'"#,
        )
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_plugin_that_gives_no_credentials_is_an_error_that_quotes_no_secret() {
        for (script, why) in [
            ("echo SECRET; echo no network >&2; exit 3", "/bin/sh failed (exit status: 3): no network"),
            ("echo SECRET: {", "printed no ExecCredential"),
            ("echo '{}'", "printed an ExecCredential without a status"),
            (r#"echo '{"status": {"token": ""}}'"#, "gave neither a token nor a certificate"),
            (r#"echo '{"status": {"clientCertificateData": "SECRET"}}'"#, "gave a certificate without its key"),
            (
                r#"echo '{"status": {"token": "SECRET", "expirationTimestamp": "soon"}}'"#,
                "gave an expirationTimestamp that is no time",
            ),
        ] {
            let error = printed(script).await.err().unwrap();
            assert!(error.contains(why) && !error.contains("SECRET"), "{script}: {error}");
        }
    }

    #[tokio::test]
    async fn a_plugin_that_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("child");
        let script = format!("sleep 1000 & echo $! > {}.new; mv {0}.new {0}; wait", file.display());
        let running = tokio::spawn(async move { printed(&script).await.err() });
        let child = loop {
            match std::fs::read_to_string(&file) {
                Ok(child) => break child,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        tokio::time::pause();
        tokio::time::advance(TIMEOUT).await;
        let error = running.await.unwrap().unwrap();
        assert!(error.ends_with("gave nothing within 60 s"), "{error}");
        tokio::time::resume();
        // Whoever takes over the orphan may leave it a zombie.
        let stat = format!("/proc/{}/stat", child.trim());
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
