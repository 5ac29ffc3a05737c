//! `logs`: a client that writes sandboxes' logs and comes back after every cut, without losing or repeating a line.
//!
//! `request` says what is asked, `lines` and `record` read the answer, `printer` and `output` write it, `session` decides what
//! comes after a connection. `group` has several sessions beside each other, and `mark` tells their lines apart.

mod backoff;
mod group;
mod lines;
mod mark;
mod options;
mod output;
mod printer;
mod record;
mod request;
mod session;

use std::{io, process::exit, thread};

use futures_util::FutureExt;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use tokio::{runtime::Builder, sync::oneshot};

pub use self::options::{Form, Logs, Tail, When};
use self::{
    group::Group,
    mark::Marks,
    output::Output,
    printer::Printer,
    record::Event,
    request::Request,
    session::{Over, Session},
};
use super::{
    connect::Connector,
    listing::{Filter, Listed},
    server::Server,
};
use crate::{config::env::Lookup, signal::Signals, telemetry};

/// The log's end; also when nobody reads the output any more.
const ENDED: u8 = 0;

/// The server does not give the log, or could not be reached.
const REFUSED: u8 = 1;

/// The command line or the environment is wrong.
const USAGE: u8 = 2;

/// The log broke off and could not be resumed.
const BROKEN: u8 = 3;

/// Most sandboxes of one name that are listed.
const MAX_NAMED: usize = 10;

/// Writes the logs that the options name; answers the exit code. Ends the process itself at a signal.
pub fn run(options: &Logs, env: Lookup<'_>) -> u8 {
    let server = match Server::find(options.url.as_deref(), env) {
        Ok(server) => server,
        Err(text) => return fail(USAGE, &text),
    };
    match write(options, &server, env) {
        Ok(code) => code,
        Err(text) => fail(REFUSED, &text),
    }
}

fn write(options: &Logs, server: &Server, env: Lookup<'_>) -> Result<u8, String> {
    end_at_signals().map_err(|error| format!("signals cannot be received: {error}"))?;
    let reader = Reader { options, server, connector: Connector::new(server)? };
    let output = Output::of_process().map_err(|error| format!("the outputs cannot be had: {error}"))?;
    // One thread reads and writes: handing pieces to another costs more than it gains.
    let tasks = Builder::new_current_thread().enable_all().build();
    let tasks = tasks.map_err(|error| format!("the program cannot be started: {error}"))?;
    let unread = watch_output().map_err(|error| format!("the program cannot be started: {error}"))?;
    if let [target] = options.ids.as_slice()
        && options.prefix != When::Always
    {
        let mut printer = Printer::new(output, options.output, options.timestamps);
        let over = tasks.block_on(async {
            tokio::select! {
                biased;
                over = reader.read(target, false, &mut printer) => over,
                () = unread => Over::Output(io::ErrorKind::BrokenPipe.into()),
            }
        });
        return Ok(finish(over, options, &printer));
    }
    let mut group = Group::new(&reader, output, Marks::new(options, env));
    tasks.block_on(async {
        tokio::select! {
            biased;
            ended = group.run() => ended,
            () = unread => Ok(ENDED),
        }
    })
}

/// What every session of a command has in common.
struct Reader<'a> {
    options: &'a Logs,
    server: &'a Server,
    connector: Connector,
}

impl Reader<'_> {
    /// Writes the log of the sandbox that an argument stands for; `has_joined` if it did so since the command began.
    async fn read(&self, target: &str, has_joined: bool, printer: &mut Printer) -> Over {
        let text = match self.session(target, has_joined, printer).run().await {
            Over::Missing(text) if !is_id(target) => text,
            over => return over,
        };
        match self.named(target).await {
            Ok(id) => {
                if let Some(mark) = &mut printer.mark {
                    mark.name_sandbox(&id);
                }
                self.session(&id, has_joined, printer).run().await
            }
            // Whoever refuses both in the same words has said all.
            Err(why) if why == text => Over::Refused(text),
            Err(why) => Over::Refused(format!("{}; {why}", text.trim_end_matches('.'))),
        }
    }

    fn session<'p>(
        &self,
        id: &str,
        has_joined: bool,
        printer: &'p mut Printer,
    ) -> Session<'p, impl AsyncFn() -> io::Result<Box<dyn super::connect::Io>>> {
        let request = Request::new(self.options, self.server, id, has_joined);
        let connect = async || self.connector.connect().await;
        let session = Session::new(request, self.server.shown(), self.server.key.is_some(), connect, printer);
        if has_joined { session.persistent() } else { session }
    }

    /// The id of the only sandbox with this name.
    async fn named(&self, name: &str) -> Result<String, String> {
        let filter = Filter { states: Vec::new(), labels: vec![("name".to_owned(), name.to_owned())] };
        let mut found = filter.list(&self.connector, self.server).await?;
        if let [_] = found.as_slice() {
            return Ok(found.swap_remove(0).id);
        }
        if found.is_empty() {
            return Err(format!("nor has a sandbox the metadata name={name}"));
        }
        let told = |one: &Listed| format!("{} ({})", one.id, one.text("/status/state").unwrap_or("state unknown"));
        let told: Vec<_> = found.iter().take(MAX_NAMED).map(told).collect();
        let more = if found.len() > told.len() { ", …" } else { "" };
        Err(format!("{} sandboxes have the metadata name={name}: {}{more}; give an id", found.len(), told.join(", ")))
    }
}

/// Whether an argument can be nothing but an id.
fn is_id(target: &str) -> bool {
    uuid::Uuid::try_parse(target).is_ok()
}

/// Lets a thread of its own wait for signals, which are then obeyed also while an output takes nothing.
fn end_at_signals() -> io::Result<()> {
    let tasks = Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _context = tasks.enter();
        Signals::new()?
    };
    let wait = move || exit(tasks.block_on(signals.next()).exit_code());
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// Lets a thread of its own wait until nobody reads the standard output any more, as `head` does that has seen enough. A sandbox
/// that is silent then would keep the program for ever. Only a pipe or a socket tells.
fn watch_output() -> io::Result<impl Future<Output = ()>> {
    let (tell, told) = oneshot::channel();
    let wait = move || {
        let stdout = io::stdout();
        // Errors are told of unasked.
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(&stdout, PollFlags::empty())], None) {}
        // Who would be told has ended.
        let _ = tell.send(());
    };
    thread::Builder::new().name("output".to_owned()).spawn(wait)?;
    // The thread does not end without a word.
    Ok(told.map(|_| ()))
}

/// Writes what is left, and how it ended unless that is as it should be; answers the exit code.
fn finish(over: Over, options: &Logs, printer: &Printer) -> u8 {
    let flushed = printer.flush();
    let (code, note) = match (over, flushed) {
        (Over::Output(error), _) | (Over::End(_), Err(error)) => match error.kind() {
            io::ErrorKind::BrokenPipe => (ENDED, None),
            _ => (BROKEN, Some(format!("the output cannot be written: {error}"))),
        },
        (Over::End(end), Ok(())) => ended(&end, options),
        (Over::Refused(text) | Over::Missing(text), _) => (REFUSED, Some(text)),
        (Over::Broken(text), _) => (BROKEN, Some(text)),
    };
    if let Some(note) = note {
        // Where the note cannot be written, the exit code is all that can be told.
        let _ = printer.note(&note);
    }
    code
}

/// What the end of a log means for the exit code and for a person.
fn ended(end: &Event, options: &Logs) -> (u8, Option<String>) {
    let (mut code, mut note) = match end.reason.as_str() {
        "exited" => {
            let with = end.exit_code.map_or_else(String::new, |code| format!(" with code {code}"));
            let why = if end.oom == Some(true) { " (out of memory)" } else { "" };
            let is_good = end.exit_code == Some(0) && why.is_empty();
            (ENDED, (!is_good).then(|| format!("the sandbox exited{with}{why}")))
        }
        "removed" => (ENDED, Some("the sandbox was removed".to_owned())),
        // Asked for, or nothing was left to come.
        "complete" | "until" | "limit" | "restarted" | "" => (ENDED, None),
        other => (BROKEN, Some(format!("the server ended the log: {other}"))),
    };
    // The record itself says it.
    if options.output == Form::Json && code == ENDED {
        note = None;
    }
    if options.exit_code {
        match end.exit_code {
            // As a shell sees it.
            Some(exit_code) => code = exit_code as u8,
            None => {
                let before = note.map_or_else(String::new, |note| format!("{note}; "));
                (code, note) = (BROKEN, Some(format!("{before}the log ended without the sandbox's exit code")));
            }
        }
    }
    (code, note)
}

fn fail(code: u8, text: &str) -> u8 {
    eprintln!("opensandbox-gateway: {}", telemetry::one_line(text));
    code
}

#[cfg(test)]
mod tests;
