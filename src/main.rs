//! The `opensandbox-gateway` program: command line, configuration, runtime, server, exit code.

use std::{
    path::PathBuf,
    process::{ExitCode, exit},
    sync::Arc,
    time::Duration,
};

use opensandbox_gateway::{
    cli::{self, Cli, Command},
    config::{Config, ConfigError, Loaded, RuntimeKind, env},
    dev, guard, init_config,
    runtime::{ErrorKind, Runtime},
    server::{self, listen::Listeners, threads::Threads},
    signal::Signals,
    start,
    store::migrate,
    telemetry,
};
use tikv_jemallocator::Jemalloc;

/// Chosen by measurement: README.md, "Measured". `.cargo/config.toml` sets it up.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// The exit code of a start-up that failed (config.md §4).
const FAILED: u8 = 1;

/// The exit code when what the machine must give is not there: the port, or the secure runtime (config.md §4).
const MISSING: u8 = 3;

/// How long a second signal may still take to end local processes.
const HURRY: Duration = Duration::from_secs(2);

/// How long creations, removals and snapshots that are under way may still take, if that is more than the clients' grace: what
/// is cut leaves containers and volumes behind.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the last delivery of metrics may take.
const FLUSH: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let cli = Cli::from_args();
    let (loaded, dev_key) = match &cli.command {
        Some(Command::MigrateSnapshots(options)) => return migrate(options),
        Some(Command::InitConfig(options)) => return write_config(options),
        Some(Command::Dev(dev)) => match dev::Key::choose(dev.no_key, &variable) {
            Ok(key) => (development(dev, &key), Some(key)),
            Err(error) => return fail(FAILED, &format!("No key can be made: {error}")),
        },
        Some(Command::Serve) | None => (load(&cli), None),
    };
    let Loaded { config, warnings, .. } = loaded.unwrap_or_else(|error| refuse(&error));
    if let Some(gap) = config.fatal_gaps().first() {
        return fail(FAILED, gap);
    }
    if dev_key.is_none()
        && config.server.api_key.is_none()
        && let Err(text) = guard::confirm_open_server(env::insecure_server_acknowledged(&variable))
    {
        return fail(FAILED, &text);
    }
    let flushes = match telemetry::init(&config.log) {
        Ok(flushes) => Arc::new(flushes),
        Err(error) => return fail(FAILED, &format!("The log cannot be set up: {error}")),
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    if cli.reload {
        tracing::warn!("--reload has no effect: there is no source to watch; start the program anew to reload");
    }
    let ended = serve(config, dev_key, Arc::clone(&flushes));
    flushes.iter().for_each(telemetry::Output::flush);
    ended
}

/// Writes a configuration to start from. What was done goes to the standard output, with an empty line behind it, as the
/// existing server says it; what comes next to the standard error.
fn write_config(options: &init_config::Options) -> ExitCode {
    match init_config::write(options, &variable) {
        Ok(init_config::Written { done, next }) => {
            println!("{done}\n");
            eprintln!("{next}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("Failed to write config template: {error}\n");
            ExitCode::from(FAILED)
        }
    }
}

/// Runs the server on a runtime of its own; answers how it went.
#[tokio::main]
async fn serve(config: Config, dev_key: Option<dev::Key>, flushes: Arc<Vec<telemetry::Output>>) -> ExitCode {
    start::raise_descriptor_limit();
    // The port comes before the runtime: a second gateway must fail before it touches anything.
    let listeners = match Listeners::bind(&config.server.host, config.server.port, config.server.backlog) {
        Ok(listeners) => listeners,
        Err(error) => {
            let (host, port) = (&config.server.host, config.server.port);
            let how = if dev_key.is_some() { "`--port` takes another" } else { "server.host, server.port" };
            return fail(MISSING, &format!("Cannot listen on {host}:{port} ({how}): {error}"));
        }
    };
    if config.runtime.kind == RuntimeKind::Process
        && let Some(public) = listeners.addresses().find(|address| !address.ip().is_loopback())
    {
        let host = &config.server.host;
        let text = "the process runtime gives no isolation and refuses a non-loopback bind";
        return fail(FAILED, &format!("server.host: '{host}' stands for {public}: {text}"));
    }
    let admin_listeners = match start::admin_listeners(&config, dev_key.is_some()) {
        Ok(listeners) => listeners,
        Err(text) => return fail(MISSING, &text),
    };
    let threads = match Threads::start() {
        Ok(threads) => threads,
        Err(error) => return fail(FAILED, &format!("The threads that serve connections cannot be started: {error}")),
    };
    let metrics = start::metrics(&config, admin_listeners.is_some());
    let sandboxes = match start::runtime(&config, &metrics).await {
        Ok(sandboxes) => sandboxes,
        Err(error) if error.kind == ErrorKind::RuntimeUnavailable => return fail(MISSING, &error.to_string()),
        Err(error) => return fail(FAILED, &error.to_string()),
    };
    // Not before: a start that hangs must be left to the signals' own effect.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(FAILED, &format!("Signals cannot be received: {error}")),
    };
    let snapshots = match start::snapshots(&config, Arc::clone(&sandboxes)).await {
        Ok(snapshots) => snapshots,
        Err(error) => return fail(FAILED, &error.to_string()),
    };
    announce(&config, &listeners, dev_key.as_ref());
    let settings = start::server(&config, threads, Arc::clone(&sandboxes), snapshots.clone(), metrics.clone());
    // Until the program ends, so that the last scrape sees that it does.
    let watch = settings.drain.watch();
    let _admin = admin_listeners.and_then(|of| start::admin(&config, of, &metrics, Arc::clone(&sandboxes), watch));
    let grace = settings.grace;
    let hurried = Arc::clone(&sandboxes);
    let served = server::run(listeners, settings, async move {
        let (signal, _) = signals.next().await;
        tokio::spawn(end_at_once(signals, hurried, flushes));
        tracing::info!("{signal}: ending; once more to end at once");
    });
    let threads = served.await;
    let ended = async { tokio::join!(sandboxes.shutdown(), snapshots.shutdown()) };
    let patience = grace.max(PATIENCE);
    if tokio::time::timeout(patience, ended).await.is_err() {
        tracing::warn!("what was under way in the runtime was given up after {} s", patience.as_secs());
    }
    metrics.shutdown(FLUSH).await;
    threads.end();
    ExitCode::SUCCESS
}

/// Copies the records of snapshots. Both outcomes go to standard output, where scripts look for them (config.md §5).
#[tokio::main(flavor = "current_thread")]
async fn migrate(options: &cli::MigrateSnapshots) -> ExitCode {
    match migrate::run(&options.source(), &options.to, options.dry_run).await {
        Ok(summary) => {
            println!("{summary}\n");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("Failed to migrate snapshots: {error}\n");
            ExitCode::from(FAILED)
        }
    }
}

/// Ends the program at the next signal, without waiting for clients; local processes are not left behind.
async fn end_at_once(mut signals: Signals, sandboxes: Arc<dyn Runtime>, flushes: Arc<Vec<telemetry::Output>>) {
    let (_, number) = signals.next().await;
    // Nothing is left to do when that takes longer.
    let _ = tokio::time::timeout(HURRY, sandboxes.shutdown()).await;
    flushes.iter().for_each(telemetry::Output::flush);
    exit(128 + number);
}

/// The configuration for development, on the port of the command line.
fn development(dev: &cli::Dev, key: &dev::Key) -> Result<Loaded, ConfigError> {
    let mut config = Config::dev();
    config.server.port = dev.port;
    config.server.api_key = key.secret().cloned();
    Ok(Loaded { config, warnings: Vec::new(), source: PathBuf::new() })
}

fn load(cli: &Cli) -> Result<Loaded, ConfigError> {
    Config::load(cli.config.as_deref(), &variable)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Says where the server listens, and in development what to try.
fn announce(config: &Config, listeners: &Listeners, dev_key: Option<&dev::Key>) {
    let addresses: Vec<String> = listeners.addresses().map(|address| address.to_string()).collect();
    let address = addresses.first().map_or("", String::as_str);
    let urls: Vec<String> = addresses.iter().map(|address| format!("http://{address}")).collect();
    tracing::info!("opensandbox-gateway {} listens on {}", env!("CARGO_PKG_VERSION"), urls.join(" and "));
    if config.runtime.kind == RuntimeKind::Process {
        tracing::warn!(
            "runtime.type = 'process': sandboxes are local processes WITHOUT isolation, for development only"
        );
    }
    if let Some(key) = dev_key {
        println!("{}", dev::welcome(address, key));
    }
}

/// Ends with one clear line a fault.
fn refuse(error: &ConfigError) -> ! {
    for warning in error.warnings() {
        eprintln!("opensandbox-gateway: warning: {warning}");
    }
    for line in error.lines() {
        eprintln!("opensandbox-gateway: {line}");
    }
    exit(error.exit_code().into())
}

fn fail(code: u8, text: &str) -> ExitCode {
    eprintln!("opensandbox-gateway: {text}");
    ExitCode::from(code)
}
