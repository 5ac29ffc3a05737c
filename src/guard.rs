//! The start-up guard for a missing API key (config.md §4). Runs before anything else has an effect.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long a person has to answer.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Lets the start go on without a key only when someone takes the responsibility: by the environment
/// (`OPENSANDBOX_INSECURE_SERVER=YES`, `is_acknowledged`), or by typing `YES` at a terminal.
///
/// # Errors
///
/// Nobody does. The text says what to do.
pub fn confirm_open_server(is_acknowledged: bool) -> Result<(), String> {
    if is_acknowledged {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(
            "API key startup confirmation failed: Startup blocked: server.api_key is empty in non-interactive \
                    mode. Set OPENSANDBOX_INSECURE_SERVER=YES to acknowledge the risk, or set server.api_key or \
                    OPENSANDBOX_SERVER_API_KEY."
                .to_owned(),
        );
    }
    eprint!("No API key is set: whoever reaches this server can run code on it.\nType YES to start all the same: ");
    // Without the prompt the wait would be a riddle; failing to write it is failing to ask.
    io::stderr().flush().map_err(|error| format!("Startup aborted: cannot ask: {error}"))?;
    match answer() {
        Some(answer) if answer.trim() == "YES" => Ok(()),
        Some(_) => Err("Startup aborted: missing explicit confirmation for empty server.api_key. Set server.api_key \
                        or OPENSANDBOX_SERVER_API_KEY."
            .to_owned()),
        None => Err("Startup aborted: confirmation timed out waiting for YES. Set server.api_key or \
                     OPENSANDBOX_SERVER_API_KEY."
            .to_owned()),
    }
}

/// A line from the terminal, if one comes in time. The reading thread ends with the process.
fn answer() -> Option<String> {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line).is_ok() {
            // Nobody listens any more when the time is over, and nobody needs to.
            let _ = tx.send(line);
        }
    });
    rx.recv_timeout(PROMPT_TIMEOUT).ok()
}
