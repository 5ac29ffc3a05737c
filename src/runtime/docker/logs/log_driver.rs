//! Which log driver keeps what sandboxes and their sidecars print (`docker.log_driver`, `docker.log_opts`).

use bollard::{
    errors::Error as EngineError,
    models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, SystemInfo},
    query_parameters::CreateContainerOptions,
};

use crate::runtime::docker::{
    DockerOptions,
    engine::{Engine, mask::Mask, text},
};
use crate::{
    config::log_driver,
    error::{Error, Family, Kind},
};

/// Drivers that the engine always reads.
const READABLE: [&str; 3] = ["json-file", "local", "journald"];

/// A name that no container can have.
const NO_NAME: &str = "-";

/// The beginning of the engine's error for a container whose log driver cannot be started.
const LOG_FAILED: &str = "failed to initialize logging driver";

/// The first API version whose engine (20.10) keeps a copy that can be read of what other drivers send away.
const DUAL_LOGGING: [u32; 2] = [1, 41];

/// The log configuration of a container; none for the engine's own.
pub(in crate::runtime::docker) fn log_config(options: &DockerOptions) -> Option<HostConfigLogConfig> {
    if options.log_driver.is_none() && options.log_opts.is_empty() {
        return None;
    }
    let opts = options.log_opts.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    // Without a driver the engine takes its default one, with these options over its own.
    Some(HostConfigLogConfig { typ: options.log_driver.clone(), config: Some(opts) })
}

/// Fails unless the engine has the driver and the driver the options; tells what an operator may not expect.
///
/// # Errors
/// ([`Family::Startup`], [`Kind::Failed`]) with the key and the reason.
pub(in crate::runtime::docker) async fn check(engine: &Engine, options: &DockerOptions) -> Result<(), Error> {
    if log_config(options).is_none() {
        return Ok(());
    }
    let refused = |text: String| Error::new(Family::Startup, Kind::Failed, text);
    let info = engine.within(engine.api.info()).await;
    let info = info.map_err(|error| refused(format!("The engine's log drivers are not known: {}", text(&error))))?;
    let driver = driver(&info, options).map_err(refused)?;
    if let Some((name, reason)) = log_driver::faults(&driver, &options.log_opts).into_iter().next() {
        let key = if name.is_empty() { String::new() } else { format!(".{name}") };
        return Err(refused(format!("docker.log_opts{key} (for the driver '{driver}'): {reason}")));
    }
    refused_by(engine, options).await.map_or(Ok(()), |reason| {
        Err(refused(format!("docker.log_driver, docker.log_opts: the engine refuses them: {reason}")))
    })?;
    warnings(&driver, options, &engine.api_version).iter().for_each(|text| tracing::warn!(driver, "{text}"));
    Ok(())
}

/// The engine's error for a container with the driver and its options, if it refuses them.
///
/// No container results: the engine validates the log configuration first, and then refuses the name. An error that it also
/// gives without the driver is not about the driver.
async fn refused_by(engine: &Engine, options: &DockerOptions) -> Option<String> {
    let asked = async |log_config| {
        let body = ContainerCreateBody {
            cmd: Some(vec!["true".to_owned()]),
            host_config: Some(HostConfig { log_config, ..Default::default() }),
            ..Default::default()
        };
        let name = Some(CreateContainerOptions { name: Some(NO_NAME.to_owned()), ..Default::default() });
        match engine.within(engine.api.create_container(name, body)).await {
            Err(EngineError::DockerResponseServerError { status_code: 400, message }) => Some(message),
            // The engine has another fault, which the next call reports.
            _ => None,
        }
    };
    let (with, without) = (asked(log_config(options)).await?, asked(None).await?);
    // Its words may have values of options in them, which may be secrets.
    let values: Vec<String> = options.log_opts.values().map(|value| value.expose().to_owned()).collect();
    (with != without).then(|| Mask::new(&[], &values).apply(&with))
}

/// What is to be done about a container that did not start, if that is due to its log driver.
pub(in crate::runtime::docker) fn advice(words: &str, options: &DockerOptions) -> Option<&'static str> {
    if !words.contains(LOG_FAILED) {
        return None;
    }
    Some(match log_config(options) {
        Some(_) => {
            "The log driver is the cause: change log_driver and log_opts of [docker] in the gateway's configuration."
        }
        None => {
            "The engine's own log driver is the cause: change it in the engine's daemon.json, or set log_driver and log_opts of \
             [docker] in the gateway's configuration."
        }
    })
}

/// The name of the driver that containers will have.
fn driver(info: &SystemInfo, options: &DockerOptions) -> Result<String, String> {
    let Some(wanted) = &options.log_driver else { return Ok(info.logging_driver.clone().unwrap_or_default()) };
    let mut known = info.plugins.as_ref().and_then(|plugins| plugins.log.clone()).unwrap_or_default();
    // It is no plugin, and every engine has it.
    known.push("none".to_owned());
    known.sort();
    let is_known = known.iter().any(|name| name == wanted || name.strip_suffix(":latest") == Some(wanted));
    // An engine that names none, as Podman, says no when a sandbox is created.
    if is_known || known.len() == 1 {
        return Ok(wanted.clone());
    }
    Err(format!("docker.log_driver: the engine has no log driver '{wanted}'. It has: {}", known.join(", ")))
}

/// Consequences of a driver and its options that an operator may not expect.
fn warnings(driver: &str, options: &DockerOptions, api_version: &str) -> Vec<&'static str> {
    let opt = |name: &str| options.log_opts.get(name).map(crate::secret::Secret::expose);
    let is_on = |name: &str| opt(name).and_then(log_driver::boolean) == Some(true);
    let mut warnings = Vec::new();
    let keeps_copy = !is_on("cache-disabled") && is_at_least(api_version, DUAL_LOGGING);
    if driver == "none" || (!READABLE.contains(&driver) && !keeps_copy) {
        warnings.push(
            "docker.log_driver: this driver keeps nothing that can be read; the logs of sandboxes will answer 501",
        );
    }
    if driver == "json-file" && opt("max-size").is_none() {
        warnings.push(
            "docker.log_opts: without max-size nothing bounds a sandbox's log on the engine's disk, unless the engine's own \
             configuration does",
        );
    }
    if driver == "json-file" && opt("max-size").is_none() && opt("max-file").is_some() {
        warnings.push("docker.log_opts.max-file: has no effect without max-size");
    }
    warnings
}

fn is_at_least(version: &str, least: [u32; 2]) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    [parts.next().unwrap_or_default(), parts.next().unwrap_or_default()] >= least
}

#[cfg(test)]
mod tests {
    use bollard::models::PluginsInfo;

    use super::*;
    use crate::secret::Secret;

    fn options(driver: Option<&str>, opts: &[(&str, &str)]) -> DockerOptions {
        let opts = opts.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        DockerOptions { log_driver: driver.map(str::to_owned), log_opts: opts, ..DockerOptions::default() }
    }

    #[test]
    fn without_either_key_the_engine_decides() {
        assert!(log_config(&options(None, &[])).is_none());
        let config = log_config(&options(None, &[("max-size", "1m")])).unwrap();
        assert_eq!((config.typ, config.config.unwrap()["max-size"].as_str()), (None, "1m"));
    }

    #[test]
    fn a_driver_is_one_of_the_engine_s() {
        let names = ["json-file", "grafana/loki:latest"].map(str::to_owned).to_vec();
        let info = SystemInfo {
            plugins: Some(PluginsInfo { log: Some(names), ..Default::default() }),
            logging_driver: Some("local".to_owned()),
            ..Default::default()
        };
        assert_eq!(driver(&info, &options(None, &[])).unwrap(), "local");
        for name in ["json-file", "grafana/loki", "grafana/loki:latest", "none"] {
            assert_eq!(driver(&info, &options(Some(name), &[])).unwrap(), name);
        }
        let error = driver(&info, &options(Some("jsonfile"), &[])).unwrap_err();
        assert!(error.ends_with("no log driver 'jsonfile'. It has: grafana/loki:latest, json-file, none"), "{error}");
    }

    #[test]
    fn surprises_are_told() {
        let of = |driver, opts: &[_], version| warnings(driver, &options(Some(driver), opts), version).len();
        assert_eq!(of("local", &[], "1.24"), 0);
        assert_eq!(of("json-file", &[("max-size", "1m")], "1.41"), 0);
        assert_eq!(of("json-file", &[], "1.41"), 1);
        assert_eq!(of("json-file", &[("max-file", "3")], "1.41"), 2);
        assert_eq!(of("none", &[], "1.41"), 1);
        assert_eq!((of("syslog", &[], "1.41"), of("syslog", &[], "1.40")), (0, 1));
        assert_eq!(of("syslog", &[("cache-disabled", "true")], "1.51"), 1);
    }
}
