//! The program from its command line to its exit code: configuration, runtime, server.
//!
//! Not in `main.rs`: what is generic is compiled where it is used, which was all of the server a second time.

use std::{
    process::{ExitCode, exit},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Builder, sync::Notify};

use crate::{
    cli::{self, Cli, Command},
    config::{Config, ConfigError, Loaded, env},
    dev,
    error::{Family, Kind},
    guard, init_config,
    keys::KeyRing,
    notify::Notifier,
    reload::Reload,
    runtime::Runtime,
    server::{self, Ended, threads::Threads},
    signal::{Asked, Caught, Signals, Stop},
    start::{self, TenantsError, doors},
    store::migrate,
    telemetry::{self, Output},
};

/// The exit code of a start-up that failed (config.md §4).
const EXIT_FAILED: u8 = 1;

/// The exit code when what the machine must give is not there: the port, or the secure runtime (config.md §4).
const EXIT_UNAVAILABLE: u8 = 3;

/// How long the files of the configuration may take until it is said that they hang.
const CONFIG_READ_WARNING: Duration = Duration::from_secs(3);

/// How long a second signal may still take to end local processes.
const SECOND_SIGNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long creations, removals and snapshots that are under way may still take, if that is more than the clients' grace: what
/// is cut leaves containers and volumes behind.
const WORK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the last delivery of metrics and spans may take, both at once.
const METRICS_FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the runtime's threads may take to drop what they hold. A blocking task that hangs is not waited for longer.
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

/// What the task that obeys signals shares with the program.
#[derive(Default)]
struct Program {
    stop: Stop,
    /// The start is over, so that there is something to end well.
    is_serving: AtomicBool,
    /// Asks for the log files, the keys and the certificate to be read again.
    reload: Arc<Notify>,
    outputs: OnceLock<Arc<Vec<Output>>>,
    sandboxes: OnceLock<Arc<dyn Runtime>>,
}

/// Does what the command line says; answers how it went.
pub fn run() -> ExitCode {
    let cli = Cli::from_args();
    match &cli.command {
        Some(Command::MigrateSnapshots(options)) => return migrate(options),
        Some(Command::InitConfig(options)) => return write_config(options),
        Some(Command::Logs(options)) => return ExitCode::from(cli::logs::run(options, &env::of_process)),
        Some(Command::Ps(options)) => return ExitCode::from(cli::ps::run(options, &env::of_process)),
        Some(Command::Completions(options)) => return ExitCode::from(cli::packaging::complete(*options)),
        Some(Command::Man(options)) => return ExitCode::from(cli::packaging::manual(options)),
        Some(Command::Dev(_) | Command::Serve) | None => {}
    }
    let tasks = match Builder::new_multi_thread().enable_all().build() {
        Ok(tasks) => tasks,
        Err(error) => return fail(EXIT_FAILED, &format!("The program's threads cannot be started: {error}")),
    };
    let program = Arc::<Program>::default();
    let code = tasks.block_on(load(&cli, &program));
    // Merely dropped, the runtime would wait for a file on a dead server, or a volume's tool, for as long as that hangs.
    tasks.shutdown_timeout(RUNTIME_SHUTDOWN_TIMEOUT);
    program.flush();
    code
}

/// Loads the configuration and serves; answers how it went.
async fn load(cli: &Cli, program: &Arc<Program>) -> ExitCode {
    let is_dev = matches!(cli.command, Some(Command::Dev(_)));
    // First of all: a signal that comes while a file of the start hangs must end the program.
    match Signals::new() {
        Ok(signals) => drop(tokio::spawn(obey(signals, Arc::clone(program), is_dev))),
        Err(error) => return fail(EXIT_FAILED, &format!("Signals cannot be received: {error}")),
    }
    let (loaded, dev_key) = match &cli.command {
        Some(Command::Dev(dev)) => match dev::Key::choose(dev.no_key, &env::of_process) {
            Ok(key) => (Ok(dev::configuration(dev.port, &key, &env::of_process)), Some(key)),
            Err(error) => return fail(EXIT_FAILED, &format!("There is no key: {error}")),
        },
        _ => {
            let told = tokio::spawn(async {
                tokio::time::sleep(CONFIG_READ_WARNING).await;
                eprintln!("opensandbox-gateway: a file of the configuration hangs; still waiting for it");
            });
            let loaded = Config::load(cli.config.as_deref(), &env::of_process);
            told.abort();
            (loaded, None)
        }
    };
    let Loaded { config, warnings, .. } = loaded.unwrap_or_else(|error| refuse(&error));
    if let Some(gap) = config.fatal_gaps().first() {
        return fail(EXIT_FAILED, gap);
    }
    if dev_key.is_none()
        && config.server.keys.is_empty()
        && config.tenants.is_none()
        && let Err(text) = guard::confirm_open_server(env::insecure_server_acknowledged(&env::of_process))
    {
        return fail(EXIT_FAILED, &text);
    }
    if let Err(text) = start::check_certificates(&env::of_process) {
        return fail(EXIT_FAILED, &text);
    }
    let outputs = match telemetry::init(&config.log) {
        Ok(outputs) => Arc::clone(program.outputs.get_or_init(|| Arc::new(outputs))),
        Err(error) => return fail(EXIT_FAILED, &format!("The log cannot be set up: {error}")),
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    if cli.reload {
        tracing::warn!("--reload has no effect: there is no source to watch; start the program anew to reload");
    }
    let notifier = Notifier::from_env(&env::of_process).unwrap_or_else(|why| {
        tracing::warn!("{why}");
        Notifier::default()
    });
    let keys = Arc::new(KeyRing::new(config.server.keys.clone()));
    let notifier = Arc::new(notifier);
    let certificates = match start::certificates(&config.server) {
        Ok(certificates) => certificates,
        Err(text) => return fail(EXIT_FAILED, &text),
    };
    let reload = Reload { outputs, keys, config: cli.config.clone(), certificates, notifier };
    serve(config, dev_key, program, reload).await
}

impl Program {
    /// Writes what was logged so far.
    fn flush(&self) {
        self.outputs.get().into_iter().flat_map(|outputs| outputs.iter()).for_each(Output::flush);
    }

    /// Ends the program, or what it does to end, as far as signals have asked for it by now.
    async fn end(&self, caught: Caught) {
        let name = caught.name();
        if !self.is_serving.load(Ordering::Relaxed) {
            tracing::info!("{name}: ended while it started");
            self.flush();
            exit(caught.exit_code());
        }
        // A person at a terminal has no load balancer in front.
        match self.stop.ask(caught == Caught::Terminate) {
            Asked::Begin => tracing::info!("{name}: ending; once more to end at once"),
            Asked::Hurry => tracing::info!("{name}: no more delay; once more to end at once"),
            Asked::AtOnce => {
                // Local processes are not left behind, unless that takes longer.
                if let Some(sandboxes) = self.sandboxes.get() {
                    let _ = tokio::time::timeout(SECOND_SIGNAL_TIMEOUT, sandboxes.shutdown()).await;
                }
                self.flush();
                exit(caught.exit_code());
            }
        }
    }
}

/// Does what signals ask for, for as long as the process lives.
async fn obey(mut signals: Signals, program: Arc<Program>, is_dev: bool) {
    loop {
        let caught = signals.next().await;
        let name = caught.name();
        match caught {
            Caught::Interrupt | Caught::Terminate => program.end(caught).await,
            // Its terminal is gone, and it has neither files to open nor keys to read.
            Caught::Hangup if is_dev => program.end(caught).await,
            Caught::Hangup if program.is_serving.load(Ordering::Relaxed) => program.reload.notify_one(),
            Caught::Hangup => tracing::info!("{name}: nothing is read again while the program starts"),
            Caught::Other(_) => {
                tracing::warn!(
                    "{name} means nothing here; SIGHUP opens the log files and reads the keys and the certificate again"
                );
            }
        }
    }
}

/// Writes a configuration to start from. What was done goes to the standard output, with an empty line behind it, as the
/// existing server says it; what comes next to the standard error.
fn write_config(options: &init_config::Options) -> ExitCode {
    match init_config::write(options, &env::of_process) {
        Ok(init_config::Written { done, next }) => {
            println!("{done}\n");
            eprintln!("{next}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("Failed to write config template: {error}\n");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Runs the server; answers how it went.
async fn serve(config: Config, dev_key: Option<dev::Key>, program: &Program, reload: Reload) -> ExitCode {
    start::raise_descriptor_limit();
    let listeners = match start::listeners(&config.server, dev_key.is_some()) {
        Ok(listeners) => listeners,
        Err(text) => return fail(EXIT_UNAVAILABLE, &text),
    };
    let viewer_listeners = match doors::viewer_listeners(&config, dev_key.is_some()) {
        Ok(listeners) => listeners,
        Err(text) => return fail(EXIT_UNAVAILABLE, &text),
    };
    if let Err(text) = doors::check_reach(&config, &listeners, viewer_listeners.as_ref()) {
        return fail(EXIT_FAILED, &text);
    }
    let admin_listeners = match start::admin_listeners(&config, dev_key.is_some()) {
        Ok(listeners) => listeners,
        Err(text) => return fail(EXIT_UNAVAILABLE, &text),
    };
    let threads = match Threads::start() {
        Ok(threads) => threads,
        Err(error) => {
            return fail(EXIT_FAILED, &format!("The threads that serve connections cannot be started: {error}"));
        }
    };
    let metrics = start::metrics(&config, admin_listeners.is_some());
    let sandboxes = match start::runtime(&config, &metrics, &reload.keys).await {
        Ok(sandboxes) => sandboxes,
        Err(error) if error.key() == (Family::Startup, Kind::Unsupported) => {
            return fail(EXIT_UNAVAILABLE, &error.to_string());
        }
        Err(error) => return fail(EXIT_FAILED, &error.to_string()),
    };
    let _ = program.sandboxes.set(Arc::clone(&sandboxes));
    let tenants = match start::tenants(&config, &*sandboxes).await {
        Ok(tenants) => tenants,
        Err(error @ TenantsError::Provider(_)) => return fail(EXIT_UNAVAILABLE, &error.to_string()),
        Err(error @ TenantsError::Namespace(_)) => return fail(EXIT_FAILED, &error.to_string()),
    };
    let snapshots = match start::snapshots(&config, Arc::clone(&sandboxes)).await {
        Ok(snapshots) => snapshots,
        Err(error) => return fail(EXIT_FAILED, &error.to_string()),
    };
    start::announce(&config, &listeners, viewer_listeners.as_ref(), dev_key.as_ref());
    let keys = Arc::clone(&reload.keys);
    let pulse = threads.pulse();
    let settings = start::server(
        &config,
        threads,
        Arc::clone(&sandboxes),
        snapshots.clone(),
        metrics.clone(),
        Arc::clone(&keys),
        tenants,
        reload.certificates.clone(),
    );
    // Until the program ends, so that the last scrape sees that it does.
    let watch = settings.drain.watch();
    let _admin = admin_listeners.and_then(|of| start::admin(of, &metrics, Arc::clone(&sandboxes), keys, watch));
    let work_timeout = settings.grace.max(WORK_TIMEOUT);
    let notifier = Arc::clone(&reload.notifier);
    program.is_serving.store(true, Ordering::Relaxed);
    if let Some(certificates) = &reload.certificates {
        tokio::spawn(Arc::clone(certificates).watch());
    }
    tokio::spawn(reload.run(Arc::clone(&program.reload)));
    tokio::spawn(Arc::clone(&notifier).feed_watchdog(pulse));
    notifier.ready();
    let served = server::run(doors::all(&config, listeners, viewer_listeners), settings, program.stop.clone());
    let told = async {
        program.stop.asked().await;
        notifier.stopping(config.server.shutdown_delay + work_timeout + METRICS_FLUSH_TIMEOUT);
    };
    let (Ended { threads, draining }, ()) = tokio::join!(served, told);
    let ended = async { tokio::join!(sandboxes.shutdown(), snapshots.shutdown()) };
    let left = work_timeout.saturating_sub(draining.elapsed()).max(SECOND_SIGNAL_TIMEOUT);
    if tokio::time::timeout(left, ended).await.is_err() {
        tracing::warn!("what was under way in the runtime was given up after {} s", draining.elapsed().as_secs());
    }
    metrics.shutdown(METRICS_FLUSH_TIMEOUT).await;
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
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Ends with one clear line a fault.
fn refuse(error: &ConfigError) -> ! {
    for warning in error.warnings() {
        eprintln!("opensandbox-gateway: warning: {}", telemetry::one_line(warning));
    }
    for line in error.lines() {
        eprintln!("opensandbox-gateway: {}", telemetry::one_line(line));
    }
    exit(error.exit_code().into())
}

fn fail(code: u8, text: &str) -> ExitCode {
    eprintln!("opensandbox-gateway: {}", telemetry::one_line(text));
    ExitCode::from(code)
}
