//! The built program run to its end: for start-ups that fail, and what it says on its two outputs.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A home directory with a configuration in it.
pub struct Home {
    dir: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Home {
    /// A home whose configuration has this text.
    pub fn with(config: &str) -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(home.config(), config).unwrap();
        home
    }

    /// Where the configuration is.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("gateway.toml")
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The program with these arguments and variables, and nothing else of this process's environment but `PATH`.
    pub fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opensandbox-gateway"));
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program on this configuration; it must end by itself.
    pub fn run(&self, env: &[(&str, &str)]) -> Ended {
        let config = self.config();
        end(self.command(&["--config", config.to_str().unwrap()], env).spawn().unwrap(), Duration::from_secs(20))
    }

    /// Runs the program with these arguments; it must end by itself.
    pub fn run_args(&self, args: &[&str]) -> Ended {
        end(self.command(args, &[]).spawn().unwrap(), Duration::from_secs(20))
    }
}

/// Waits for a program's end and collects what it wrote.
///
/// # Panics
///
/// If it has not ended within `patience`; it is killed then.
pub fn end(mut child: Child, patience: Duration) -> Ended {
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > patience {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    // What it started may hold them.
    let outputs =
        super::bounded_thread("the end of a program's outputs", || (stdout.join().unwrap(), stderr.join().unwrap()));
    let (stdout, stderr) = outputs;
    let status = status.unwrap_or_else(|| panic!("still running after {patience:?}: {stdout}{stderr}"));
    Ended { code: status.code(), stdout, stderr }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
