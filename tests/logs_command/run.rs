//! The command as a process.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    bounded_thread,
    program::{self, Ended},
};

/// Longer than anything that is not a failure takes, and less than the 45 s after which the command gives up a silent connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// `opensandbox-gateway logs` with these arguments and variables, and nothing else of this process's environment but `PATH`.
pub(crate) fn command(args: &[&str], env: &[(&str, &str)]) -> Command {
    command_of("logs", args, env)
}

/// The same with another command of the program's.
pub(crate) fn command_of(name: &str, args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opensandbox-gateway"));
    command.arg(name).args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str], env: &[(&str, &str)]) -> Ended {
    program::end(command(args, env).spawn().unwrap(), PATIENCE)
}

/// Calls `check` until it says yes.
pub(crate) fn until(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// One that goes on while it is looked at; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    /// What it writes to its standard output, as far as it is read.
    pub(crate) stdout: Option<BufReader<ChildStdout>>,
    stderr: Arc<Mutex<String>>,
}

impl Running {
    pub(crate) fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = command(args, env).spawn().unwrap();
        let (stdout, mut errors) = (child.stdout.take().map(BufReader::new), child.stderr.take().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&stderr);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = errors.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { child, stdout, stderr }
    }

    /// The next line of its standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut stdout = self.stdout.take().unwrap();
        let (stdout, line) = bounded_thread("a line of its output", move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            (stdout, line)
        });
        self.stdout = Some(stdout);
        line
    }

    /// What it has written to its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until that contains `text`.
    pub(crate) fn says(&self, text: &str) {
        until(text, || self.stderr().contains(text));
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Its command line, as everyone on the machine can read it.
    pub(crate) fn command_line(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cmdline", self.child.id())).unwrap()
    }

    /// Waits for its end and gives its exit code, and all that it wrote to its standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut code = None;
        until("the end", || {
            code = self.child.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        });
        // Its reader lets go of it when all was read.
        until("the end of what it says", || Arc::strong_count(&self.stderr) == 1);
        (code.unwrap(), self.stderr())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where all is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
