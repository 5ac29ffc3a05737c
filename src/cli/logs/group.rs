//! Several logs beside each other: each in a session of its own, which goes on when another ends.

use std::{cell::RefCell, collections::HashSet, future::pending, pin::pin, rc::Rc, time::Duration};

use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::time::sleep;

use super::{
    ENDED, Reader, finish, is_id, mark::Marks, options::MAX_SANDBOXES, output::Output, printer::Printer, session::Over,
};
use crate::cli::listing::{Filter, Listed};

/// How long it takes at most until a sandbox is seen that has begun to match.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// States in which there is no log yet.
const NOT_STARTED: [&str; 2] = ["pending", "allocated"];

/// How one of the sessions ended.
struct Ended {
    id: String,
    code: u8,
    /// The outputs take nothing any more, from any of them.
    is_output_gone: bool,
}

/// Sandboxes that are read, or were read to their end.
#[derive(Debug, Default)]
struct Known {
    ids: HashSet<String>,
    /// Those of them that were not in the last list.
    missed: HashSet<String>,
}

/// The sessions of a command.
pub(super) struct Group<'a> {
    reader: &'a Reader<'a>,
    output: Rc<RefCell<Output>>,
    marks: Marks,
    running: FuturesUnordered<LocalBoxFuture<'a, Ended>>,
    known: Known,
    /// Of the known sandboxes those that are read.
    active: HashSet<String>,
    /// What is wrong with finding others, as it was told.
    told: Option<String>,
}

impl<'a> Group<'a> {
    pub(super) fn new(reader: &'a Reader<'a>, output: Output, marks: Marks) -> Self {
        Self {
            reader,
            output: Rc::new(RefCell::new(output)),
            marks,
            running: FuturesUnordered::new(),
            known: Known::default(),
            active: HashSet::new(),
            told: None,
        }
    }

    /// Reads all logs to their ends; answers the largest of their exit codes.
    ///
    /// # Errors
    ///
    /// A text for a person: there is nothing to read.
    pub(super) async fn run(&mut self) -> Result<u8, String> {
        let options = self.reader.options;
        for target in &options.ids {
            let name = (!is_id(target)).then_some(target.as_str());
            self.start(target, name, false);
        }
        let is_selection = !options.label.is_empty();
        if is_selection {
            self.select().await?;
        }
        let can_join = is_selection && options.follow;
        let reader = self.reader;
        let look = || async move {
            if !can_join {
                return pending().await;
            }
            sleep(LOOK_EVERY).await;
            list(reader).await
        };
        let mut looking = pin!(look());
        let mut worst = ENDED;
        while can_join || !self.running.is_empty() {
            tokio::select! {
                Some(ended) = self.running.next() => {
                    worst = worst.max(ended.code);
                    self.active.remove(&ended.id);
                    self.marks.take_back(&ended.id);
                    if ended.is_output_gone {
                        break;
                    }
                }
                found = &mut looking => {
                    match found {
                        Ok(found) => self.join(&found),
                        Err(why) => self.tell(Some(format!("sandboxes that join cannot be looked for: {why}"))),
                    }
                    looking.set(look());
                }
            }
        }
        Ok(worst)
    }

    /// Begins with all that match at the start.
    async fn select(&mut self) -> Result<(), String> {
        let found = list(self.reader).await?;
        let options = self.reader.options;
        let wanted: Vec<_> = options.label.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if found.len() > MAX_SANDBOXES {
            let count = found.len();
            return Err(format!("{count} sandboxes have {}; at most {MAX_SANDBOXES} can be read", wanted.join(", ")));
        }
        if found.is_empty() {
            let none = format!("no sandbox has {}", wanted.join(", "));
            if !options.follow {
                return Err(none);
            }
            self.tell(Some(format!("{none} yet; waiting")));
        }
        for listed in &found {
            self.start(&listed.id, listed.metadata("name"), false);
        }
        Ok(())
    }

    /// Begins with what has come to match.
    fn join(&mut self, found: &[Listed]) {
        self.known.forget_gone(&found.iter().map(|listed| listed.id.as_str()).collect(), &self.active);
        let mut left_out = 0;
        for listed in found {
            if self.known.ids.contains(&listed.id) {
                continue;
            }
            if self.active.len() < MAX_SANDBOXES {
                self.start(&listed.id, listed.metadata("name"), true);
            } else {
                left_out += 1;
            }
        }
        let full = format!("more than {MAX_SANDBOXES} sandboxes match; others are read when one of these has ended");
        self.tell((left_out > 0).then_some(full));
    }

    /// Tells a person something once, until there is something else to tell.
    fn tell(&mut self, text: Option<String>) {
        if let Some(text) = &text
            && self.told.as_ref() != Some(text)
        {
            // Where it cannot be written, the next line cannot either, which ends the command.
            let _ = self.output.borrow_mut().note(text);
        }
        self.told = text;
    }

    fn start(&mut self, target: &str, name: Option<&str>, has_joined: bool) {
        if !self.known.ids.insert(target.to_owned()) {
            return;
        }
        self.active.insert(target.to_owned());
        let (reader, id) = (self.reader, target.to_owned());
        let mark = self.marks.give(target, name);
        let (output, options) = (Rc::clone(&self.output), reader.options);
        let mut printer = Printer::shared(output, options.output, options.timestamps, Some(mark));
        self.running.push(Box::pin(async move {
            let over = reader.read(&id, has_joined, &mut printer).await;
            let is_output_gone = matches!(over, Over::Output(_));
            Ended { code: finish(over, options, &printer), id, is_output_gone }
        }));
    }
}

impl Known {
    /// Forgets what is gone from the list, but for what is read: what was missing in two lists, one after the other. A list is
    /// read page by page. A sandbox that is removed meanwhile moves another one over the border between two pages, and that one
    /// is missing once; its log would be printed again.
    fn forget_gone(&mut self, listed: &HashSet<&str>, active: &HashSet<String>) {
        let missing: HashSet<_> = self.ids.iter().filter(|id| !listed.contains(id.as_str())).cloned().collect();
        self.ids.retain(|id| active.contains(id) || !missing.contains(id) || !self.missed.contains(id));
        self.missed = missing;
    }
}

/// All that match and have a log.
async fn list(reader: &Reader<'_>) -> Result<Vec<Listed>, String> {
    let filter = Filter { states: Vec::new(), labels: reader.options.label.clone() };
    let mut found = filter.list(&reader.connector, reader.server).await?;
    found.retain(|listed| {
        let state = listed.text("/status/state").unwrap_or_default();
        !NOT_STARTED.iter().any(|other| state.eq_ignore_ascii_case(other))
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_once_is_known_and_who_is_missing_twice_in_a_row_is_forgotten() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<HashSet<_>>();
        let mut known = Known { ids: ids(&["read", "ended", "removed"]), ..Known::default() };
        let active = ids(&["read"]);
        for (listed, left) in [
            (&["ended"][..], &["read", "ended", "removed"][..]),
            (&[], &["read", "ended"]),
            (&["ended"], &["read", "ended"]),
            (&["read"], &["read", "ended"]),
            (&["read", "ended"], &["read", "ended"]),
            (&[], &["read", "ended"]),
            (&[], &["read"]),
        ] {
            known.forget_gone(&listed.iter().copied().collect(), &active);
            assert_eq!(known.ids, ids(left), "{listed:?}");
        }
        known.forget_gone(&HashSet::new(), &HashSet::new());
        assert!(known.ids.is_empty() && known.missed.len() == 1);
        known.forget_gone(&HashSet::new(), &HashSet::new());
        assert!(known.missed.is_empty(), "nothing is kept for what is forgotten");
    }
}
