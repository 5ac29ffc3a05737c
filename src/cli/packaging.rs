//! `completions` and `man`: what a package installs of the command line, made from the same description as `--help`.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::aot;
use clap_mangen::Man;

use super::Cli;
use crate::telemetry;

/// The exit code when something cannot be written.
const FAILED: u8 = 1;

/// The exit code of a command line that is wrong.
const USAGE: u8 = 2;

/// Options of `completions`.
#[derive(Debug, Clone, Copy, Args)]
#[command(after_help = "\
Where a shell looks for them:
  bash   ~/.local/share/bash-completion/completions/opensandbox-gateway
  zsh    a file named _opensandbox-gateway in a folder of $fpath
  fish   ~/.config/fish/completions/opensandbox-gateway.fish")]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that completes command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// Fish.
    Fish,
}

/// Options of `man`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  opensandbox-gateway man logs | man -l -")]
pub struct Manual {
    /// The command whose page is written to the standard output; without it, the page of the program.
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,

    /// Write all pages to this folder instead, a file each. It must exist.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub dir: Option<PathBuf>,
}

/// Writes a shell's completions to the standard output; answers the exit code.
pub fn complete(options: Completions) -> u8 {
    let shell = match options.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let (mut command, mut script) = (Cli::command(), Vec::new());
    let name = command.get_name().to_owned();
    aot::generate(shell, &mut command, &name, &mut script);
    let Ok(mut script) = String::from_utf8(script) else { return fail(FAILED, "the completions are not UTF-8") };
    if options.shell == Shell::Bash {
        // clap_complete 4.6.11 takes a hyphen of the program's own name for the end of a command in one of two places, so that no
        // option of a command would be completed.
        script = script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"));
    }
    print(script.as_bytes())
}

/// Writes manual pages; answers the exit code.
pub fn manual(options: &Manual) -> u8 {
    let mut pages = pages();
    if let Some(dir) = &options.dir {
        return match write(dir, &pages) {
            Ok(()) => 0,
            Err(error) => fail(FAILED, &format!("{}: {error}", dir.display())),
        };
    }
    let wanted = options.command.as_deref();
    let Some(at) = pages.iter().position(|(command, _)| command.as_deref() == wanted) else {
        let names: Vec<_> = pages.iter().filter_map(|(command, _)| command.as_deref()).collect();
        return fail(USAGE, &format!("there is no such command; there are {}", names.join(", ")));
    };
    match rendered(&pages.swap_remove(at).1) {
        Ok(text) => print(text.as_bytes()),
        Err(error) => fail(FAILED, &format!("the page cannot be made: {error}")),
    }
}

/// The pages of the program, which has no command's name, and of its commands.
fn pages() -> Vec<(Option<String>, Man)> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
    let commands = shown.map(|command| (Some(command.get_name().to_owned()), page(command.clone())));
    let mut pages: Vec<_> = commands.collect();
    pages.insert(0, (None, page(program)));
    pages
}

fn page(command: Command) -> Man {
    // One line of a version is enough here; which build it is, only the program itself knows.
    let command = command.long_version(None);
    Man::new(command).manual("OpenSandbox").source(concat!("opensandbox-gateway ", env!("CARGO_PKG_VERSION")))
}

fn write(dir: &Path, pages: &[(Option<String>, Man)]) -> io::Result<()> {
    for (_, page) in pages {
        fs::write(dir.join(page.get_filename()), rendered(page)?)?;
    }
    Ok(())
}

/// A page in roff. What stands below the options in the help, such as examples, has its lines and columns here too: clap_mangen
/// 0.3.3 fills it as if it were prose, in a section named EXTRA.
fn rendered(page: &Man) -> io::Result<String> {
    let mut text = Vec::new();
    page.render(&mut text)?;
    let text = String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let Some((options, below)) = text.split_once("\n.SH EXTRA\n") else { return Ok(text) };
    let (notes, rest) = below.split_once("\n.SH ").unwrap_or((below.trim_end_matches('\n'), ""));
    let rest = if rest.is_empty() { String::new() } else { format!(".SH {rest}") };
    Ok(format!("{options}\n.SH NOTES\n.nf\n{notes}\n.fi\n{rest}"))
}

fn print(text: &[u8]) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        // Who reads no further has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(FAILED, &format!("the output cannot be written: {error}"))
        }
        _ => 0,
    }
}

fn fail(code: u8, text: &str) -> u8 {
    eprintln!("opensandbox-gateway: {}", telemetry::one_line(text));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let pages = pages();
        for command in Cli::command().get_subcommands() {
            let name = Some(command.get_name());
            let (_, page) = pages.iter().find(|(of, _)| of.as_deref() == name).unwrap_or_else(|| panic!("{name:?}"));
            let text = rendered(page).unwrap();
            let has_notes = command.get_after_help().is_some();
            assert_eq!(text.contains("\n.SH NOTES\n.nf\n") && text.contains("\n.fi\n"), has_notes, "{text}");
            assert!(!text.contains(".SH EXTRA"), "{text}");
            for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
                let long = option.get_long().map(|long| long.replace('-', "\\-")).unwrap_or_default();
                assert!(text.contains(&long), "{name:?} {long} {text}");
            }
            assert_eq!(page.get_filename(), format!("opensandbox-gateway-{}.1", command.get_name()));
        }
    }
}
