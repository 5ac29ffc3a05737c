//! Whose sandboxes this gateway ends when their time is up (`docker.expiry`).
//!
//! A moved expiry is kept in the home directory of the server that moved it. A gateway with another home does not see it,
//! and would end the sandbox at its first time. So the engine itself carries a mark: a volume without content, whose
//! labels hold the random id of the home that owns the engine. Names are unique on an engine, and creating a volume that
//! is there answers with the one that is there: of two gateways that start at once, one makes the mark and both learn
//! which. It outlives restarts of everything, and no server takes it for anything.
//!
//! Without `docker.expiry`, the gateway whose home made the mark ends all sandboxes. Any other ends only those that it
//! created, which their containers say in a label, or renewed, which its files say. The mark is made by the first gateway
//! that comes, with one exception: a home that is new to servers, on an engine with sandboxes that it knows nothing of,
//! is a visitor. A home that another server has used, the Python one above all, is that server's successor.
//!
//! The volume can be pruned with any other that no container uses. Its home makes it again, as soon as it notices; a home that
//! has seen it to be another's remembers that, and does not. Where the calls for all this are refused ([`permits`]), a gateway
//! goes by what it would be without a mark.
//!
//! A copy of a home is not that home: it gets an id of its own, and what it has of the other, its renewals above all, is the
//! other's ([`home`]). So of a home and its copies one owns the engine. Only the operator can tell that a home was moved by
//! copying it, and sets `docker.expiry = "all"`.
//!
//! Renewals of sandboxes that another gateway would end are shared by [`super::shared_expiry`].

mod home;
mod mark;
pub(in crate::runtime::docker) mod permits;

use std::{
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::config::ExpiryScope;

pub(in crate::runtime::docker) use self::home::Identity;
use self::{home::Home, permits::Permits};
use crate::runtime::docker::{
    Inner,
    engine::{labels, names, text},
};

/// Whose sandboxes end here, and what is known of that.
#[derive(Debug)]
pub(in crate::runtime::docker) struct Owner {
    scope: Option<ExpiryScope>,
    mark: String,
    home: Home,
    state: Mutex<State>,
    pub(super) permits: Permits,
    /// The mark, or what was told of an expiry, may be gone from the engine.
    lost: Notify,
}

#[derive(Debug)]
struct State {
    /// For as long as the home's own id cannot be had.
    stand_in: String,
    identity: Option<Identity>,
    /// The home's id could not be read the last time.
    is_lost: bool,
    standing: Standing,
    /// How many decisions about that have begun, and which of them the standing is of. They go side by side, since an engine
    /// may let one hang.
    decisions: u64,
    decided: u64,
}

/// What this gateway is to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runtime::docker) enum Standing {
    /// It cannot be told, at least not yet.
    Unknown(String),
    /// The mark is of this home.
    Owner,
    /// It would be, but may not be made.
    Unmarked,
    /// The mark is of another home: what it says of itself.
    Foreign(String),
    /// There is no mark, and there are sandboxes that this home knows nothing of.
    Visitor,
}

impl Standing {
    /// Whether all sandboxes end here.
    pub(super) fn ends_all(&self) -> bool {
        matches!(self, Self::Owner | Self::Unmarked)
    }
}

/// Whether a sandbox whose time is up is to be removed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Remove,
    /// That is left to others.
    Leave,
    /// That cannot be told now.
    NotNow,
}

impl Owner {
    pub(in crate::runtime::docker) fn new(scope: Option<ExpiryScope>, mark: String, state_dir: &Path) -> Self {
        let state = State {
            stand_in: uuid::Uuid::new_v4().to_string(),
            identity: None,
            is_lost: false,
            standing: Standing::Unknown("it was not looked for yet".to_owned()),
            decisions: 0,
            decided: 0,
        };
        let (state, home) = (Mutex::new(state), Home::new(state_dir));
        Self { scope, mark, home, state, permits: Permits::default(), lost: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of [`labels::CREATED_BY`] for a sandbox that is created now.
    pub(in crate::runtime::docker) fn signature(&self, id: &str) -> String {
        let state = self.state();
        signature(state.identity.as_ref().map_or(&state.stand_in, |identity| &identity.id), id)
    }

    /// Whether a sandbox with this value of [`labels::CREATED_BY`] was created by this home.
    pub(super) fn has_created(&self, id: &str, signed: Option<&str>) -> bool {
        let Some(signed) = signed else { return false };
        let state = self.state();
        let own = state.identity.as_ref().map(|identity| &identity.id);
        own.into_iter().chain([&state.stand_in]).any(|home| signed == signature(home, id))
    }

    /// Whether the engine was another home's when the mark was last read.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self.state().standing, Standing::Foreign(_))
    }

    /// Whether gateways know of each other by the volume of this name.
    pub(in crate::runtime::docker) fn is_own(&self, volume: &str) -> bool {
        volume == self.mark || volume.starts_with(names::EXPIRY_PREFIX)
    }

    /// Such a volume may be gone.
    pub(in crate::runtime::docker) fn check_for_lost(&self) {
        self.lost.notify_one();
    }

    /// Waits until one may be gone.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }

    /// What the body of `/ready` is to say.
    pub(in crate::runtime::docker) fn notes(&self) -> Vec<String> {
        let state = self.state();
        let mut notes: Vec<String> = scope_note(self.scope, &state.standing).map(str::to_owned).into_iter().collect();
        notes.extend(copy_note(self.scope, &state).map(str::to_owned));
        if state.identity.is_none() {
            notes.push(UNSTORED.to_owned());
        } else if state.is_lost {
            notes.push(LOST.to_owned());
        }
        notes
    }
}

/// Bound to the sandbox, so that it means nothing on a container that has it from an image.
fn signature(home: &str, id: &str) -> String {
    format!("{home}/{id}")
}

const UNSTORED: &str = "This gateway's id cannot be read from or written to ~/.opensandbox, so after a restart it does \
                        not know which sandboxes it created.";

const LOST: &str = "The id of this gateway is gone from ~/.opensandbox, or cannot be read: no sandbox ends by its time \
                    until it is back.";

const FOREIGN: &str = "Sandboxes that this gateway neither created nor renewed do not end by their time here: another \
                       gateway's home directory owns this engine. Set docker.expiry to say what is wanted.";

const VISITOR: &str = "Sandboxes that this gateway neither created nor renewed do not end by their time here: its home \
                       directory is new and they were there before. Set docker.expiry to say what is wanted.";

const COPIED: &str = "This gateway's home directory is a copy of another: what that created or renewed does not end by its \
                      time here. If the other home is given up, stop its gateway and set docker.expiry = \"all\" once.";

const UNMARKED: &str = "Calls on volumes are refused here, so gateways on this engine do not know of each other: all \
                        sandboxes end by their time as this gateway knows it.";

const UNKNOWN: &str = "Sandboxes that this gateway neither created nor renewed do not end by their time here yet: \
                       whether it owns this engine cannot be told.";

const OWN: &str =
    "docker.expiry = \"own\": only sandboxes that this gateway created or renewed end by their time here.";

const OFF: &str = "docker.expiry = \"off\": no sandbox ends by its time here.";

fn scope_note(scope: Option<ExpiryScope>, standing: &Standing) -> Option<&'static str> {
    match (scope, standing) {
        (Some(ExpiryScope::Off), _) => Some(OFF),
        (Some(ExpiryScope::Own), _) => Some(OWN),
        (Some(ExpiryScope::All), _) | (None, Standing::Owner) => None,
        (None, Standing::Unmarked) => Some(UNMARKED),
        (None, Standing::Foreign(_)) => Some(FOREIGN),
        (None, Standing::Visitor) => Some(VISITOR),
        (None, Standing::Unknown(_)) => Some(UNKNOWN),
    }
}

/// What is to be said of a home that began as a copy, and does not end all sandboxes.
fn copy_note(scope: Option<ExpiryScope>, state: &State) -> Option<&'static str> {
    let is_copy = state.identity.as_ref().is_some_and(Identity::is_copy);
    let ends_some = matches!(scope, None | Some(ExpiryScope::Own)) && !state.standing.ends_all();
    (is_copy && ends_some).then_some(COPIED)
}

impl Inner {
    /// Reads the home's id, or makes it. Without one it is tried again when it is needed.
    pub(in crate::runtime::docker) async fn find_identity(&self) -> io::Result<Identity> {
        if let Some(identity) = self.owner.state().identity.clone() {
            return Ok(identity);
        }
        let (home, stand_in) = (self.owner.home.clone(), self.owner.state().stand_in.clone());
        let found = self.reads.run(move || home.find_or_make(&stand_in)).await.flatten();
        match found {
            Ok(identity) => {
                self.owner.state().identity = Some(identity.clone());
                Ok(identity)
            }
            Err(error) => {
                self.owner
                    .home
                    .complain(&error, "after a restart this gateway does not know which sandboxes it created");
                Err(error)
            }
        }
    }

    /// Whether the home is still there: one on a volume that is not mounted has no moved expiries either.
    pub(super) async fn is_at_home(&self) -> bool {
        // Without an id from a file there is nothing to compare. Moved expiries that cannot be read are told by their files.
        let Some(identity) = self.owner.state().identity.clone() else { return true };
        let home = self.owner.home.clone();
        let found = self.reads.run(move || home.find()).await.flatten();
        let is_there = match found {
            Ok(Some(found)) if found.id == identity.id => true,
            Ok(found) => {
                let what = if found.is_some() { "it is another gateway's" } else { "it is gone" };
                self.owner.home.complain(&io::Error::other(what), "no sandbox ends by its time until it is back");
                false
            }
            Err(error) => {
                self.owner.home.complain(&error, "no sandbox ends by its time until it can be");
                false
            }
        };
        self.owner.state().is_lost = !is_there;
        is_there
    }

    /// Whether a sandbox whose time is up, as far as this home knows, is to be removed here. `signed` is its
    /// [`labels::CREATED_BY`]; `is_moved`: this home has a file of its expiry.
    pub(super) async fn may_end(&self, id: &str, signed: Option<&str>, is_moved: bool) -> Verdict {
        let owner = &self.owner;
        if owner.scope == Some(ExpiryScope::Off) {
            return Verdict::Leave;
        }
        let is_own = owner.has_created(id, signed) || is_moved && self.has_moved(id).await;
        let may = match owner.scope {
            _ if is_own => Verdict::Remove,
            Some(ExpiryScope::All) => Verdict::Remove,
            // Without its id it may be this home's after all.
            Some(_) => self.find_identity().await.map_or(Verdict::NotNow, |_| Verdict::Leave),
            None => match self.stand().await {
                Standing::Owner | Standing::Unmarked => Verdict::Remove,
                Standing::Foreign(_) | Standing::Visitor => Verdict::Leave,
                Standing::Unknown(_) => Verdict::NotNow,
            },
        };
        match may {
            // The id that was just found may be the one in the label.
            Verdict::Leave if owner.has_created(id, signed) => Verdict::NotNow,
            Verdict::Remove if !self.is_at_home().await => Verdict::NotNow,
            may => may,
        }
    }

    /// Whether it was this home that moved a sandbox's expiry, of which there is a file: not the one that it is a copy of.
    pub(super) async fn has_moved(&self, id: &str) -> bool {
        let Ok(identity) = self.find_identity().await else { return false };
        if !identity.is_copy() {
            return true;
        }
        let (files, id) = (self.files.clone(), id.to_owned());
        let moved = self.reads.run(move || files.moved_at(&id)).await.flatten();
        moved.is_ok_and(|moved| !identity.is_before(moved))
    }

    /// What this gateway is to the engine now. Changes are told.
    pub(super) async fn stand(&self) -> Standing {
        let number = {
            let mut state = self.owner.state();
            state.decisions += 1;
            state.decisions
        };
        let standing = match self.decide().await {
            Ok(standing) => standing,
            Err(cause) => Standing::Unknown(cause),
        };
        let is_news = {
            let mut state = self.owner.state();
            // One that hung says nothing of now.
            let is_newest = number > state.decided;
            state.decided = state.decided.max(number);
            is_newest && std::mem::replace(&mut state.standing, standing.clone()) != standing
        };
        if is_news {
            self.log_standing(&standing);
        }
        standing
    }

    async fn decide(&self) -> Result<Standing, String> {
        match self.owner.scope {
            // Visitors by will: they leave no mark.
            Some(ExpiryScope::Own | ExpiryScope::Off) => return Ok(Standing::Visitor),
            Some(ExpiryScope::All) | None => {}
        }
        let identity =
            self.find_identity().await.map_err(|error| format!("the gateway's id cannot be read: {error}"))?;
        let engine_failed = |error: bollard::errors::Error| format!("the engine cannot be asked: {}", text(&error));
        match self.find_mark().await.map_err(engine_failed)? {
            Some(mark) if mark.is_of(&identity.id) => {
                self.remember(&identity, false).await.map_err(engine_failed)?;
                Ok(Standing::Owner)
            }
            Some(mark) if self.owner.scope == Some(ExpiryScope::All) => {
                tracing::warn!(
                    mark = self.owner.mark,
                    from = mark.who(),
                    "docker.expiry = \"all\": takes the engine over"
                );
                self.take_mark(&identity.id).await.map_err(engine_failed)
            }
            Some(mark) => {
                self.remember(&identity, true).await.map_err(engine_failed)?;
                Ok(Standing::Foreign(mark.who()))
            }
            None if self.owner.scope == Some(ExpiryScope::All) => {
                self.make_mark(&identity.id).await.map_err(engine_failed)
            }
            None if self.is_remembered(&identity).await.map_err(engine_failed)? => {
                Ok(Standing::Foreign("the home that made the mark; it is gone until that makes it again".to_owned()))
            }
            None if !identity.is_heir && self.has_strangers().await? => Ok(Standing::Visitor),
            None => self.make_mark(&identity.id).await.map_err(engine_failed),
        }
    }

    /// Whether the engine was another home's when this home last saw its mark.
    async fn is_remembered(&self, identity: &Identity) -> Result<bool, bollard::errors::Error> {
        Ok(!identity.foreign.is_empty() && identity.is_foreign_to(self.engine.id().await?.unwrap_or_default()))
    }

    /// Keeps in the home whether the engine is another home's.
    async fn remember(&self, identity: &Identity, is_foreign: bool) -> Result<(), bollard::errors::Error> {
        if !is_foreign && identity.foreign.is_empty() {
            return Ok(());
        }
        let engine = self.engine.id().await?.unwrap_or_default();
        if identity.is_foreign_to(engine) == is_foreign {
            return Ok(());
        }
        let (home, id, engine) = (self.owner.home.clone(), identity.id.clone(), engine.to_owned());
        let noted = self.reads.run(move || home.note_foreign(&id, &engine, is_foreign)).await.flatten();
        match noted {
            Ok(identity) => self.owner.state().identity = Some(identity),
            Err(error) => self
                .owner
                .home
                .complain(&error, "without the engine's mark this gateway does not know whose engine it is"),
        }
        Ok(())
    }

    /// Whether there are sandboxes with an expiry that this home has neither created nor renewed.
    async fn has_strangers(&self) -> Result<bool, String> {
        let failed = |error: bollard::errors::Error| format!("the engine cannot be asked: {}", text(&error));
        for sandbox in self.engine.sandboxes(None).await.map_err(failed)? {
            let all = sandbox.labels.unwrap_or_default();
            let Some(id) = labels::value(&all, labels::ID) else { continue };
            let signed = labels::value(&all, labels::CREATED_BY);
            if labels::value(&all, labels::EXPIRES_AT).is_none() || self.owner.has_created(id, signed) {
                continue;
            }
            let moved = self.moved_expiry(id).await;
            let moved = moved.map_err(|error| format!("a file cannot be read: {error}"))?;
            if moved.is_none() || !self.has_moved(id).await {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn log_standing(&self, standing: &Standing) {
        let mark = &self.owner.mark;
        let is_explicit = self.owner.scope.is_some();
        if let Some(note) = copy_note(self.owner.scope, &self.owner.state()) {
            tracing::warn!(home = self.owner.home.shown(), "THIS HOME IS A COPY. {note}");
        }
        match standing {
            _ if self.owner.scope == Some(ExpiryScope::Off) => tracing::warn!("{OFF}"),
            Standing::Visitor if is_explicit => tracing::info!("{OWN}"),
            Standing::Owner => {
                tracing::info!(mark, "this gateway's home owns the engine: all sandboxes end by their time here")
            }
            // The refusal was told.
            Standing::Unmarked => {
                tracing::info!("this gateway's home would own the engine: all sandboxes end by their time here")
            }
            Standing::Foreign(who) => tracing::warn!(
                mark,
                owner = who,
                "ANOTHER HOME OWNS THIS ENGINE: only sandboxes that this gateway created or renewed end by their time here. \
                 If it is to follow the owner, stop that, take over its ~/.opensandbox, and set docker.expiry = \"all\"; if \
                 it is only visiting, set docker.expiry = \"own\" or \"off\""
            ),
            Standing::Visitor => tracing::warn!(
                "THIS HOME IS NEW, AND THE ENGINE HAS SANDBOXES OF OTHERS: only sandboxes that this gateway created or \
                 renewed end by their time here. If it is to follow the server that made the others, stop that, start \
                 with its home directory, or set docker.expiry = \"all\"; if it is only visiting, set docker.expiry = \
                 \"own\" or \"off\""
            ),
            Standing::Unknown(why) => tracing::warn!(
                why,
                "whether this gateway's home owns the engine cannot be told yet: until then only sandboxes that it created \
                 or renewed end by their time here"
            ),
        }
    }
}
