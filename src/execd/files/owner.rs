//! Names of users and groups, and whom a file is given to.

use std::collections::HashMap;

use nix::unistd::{Gid, Group, Uid, User};

use crate::{error::Error, execd::error};

/// Names that were looked up already: a listing has thousands of files and few owners.
#[derive(Debug, Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

/// To whom a file is to be given; nothing is changed without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owners {
    /// The user's number.
    pub user: Option<u32>,
    /// The group's number.
    pub group: Option<u32>,
}

impl Names {
    /// A user's name; the number if there is none.
    pub fn user(&mut self, id: u32) -> String {
        let name = || User::from_uid(Uid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |user| user.name);
        self.users.entry(id).or_insert_with(name).clone()
    }

    /// A group's name; the number if there is none.
    pub fn group(&mut self, id: u32) -> String {
        let name =
            || Group::from_gid(Gid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |group| group.name);
        self.groups.entry(id).or_insert_with(name).clone()
    }
}

impl Owners {
    /// Looks up a user and a group, each by name or by number. An empty one is none.
    ///
    /// # Errors
    /// There is no such user or group.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Self, Error> {
        let (user, group) = (user.filter(|user| !user.is_empty()), group.filter(|group| !group.is_empty()));
        let uid = |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
        let gid = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
        Ok(Self { user: number(user, "user", uid)?, group: number(group, "group", gid)? })
    }

    /// Whether it gives a file to anybody.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

fn number(name: Option<&str>, what: &str, find: impl Fn(&str) -> Option<u32>) -> Result<Option<u32>, Error> {
    let Some(name) = name else { return Ok(None) };
    if name.contains('\0') {
        return Err(error::invalid(format!("A {what}'s name must not hold a NUL.")));
    }
    // The highest number means "no change" to the kernel.
    let numeric = || name.parse().ok().filter(|number| *number != u32::MAX);
    let unknown = || error::invalid(format!("There is no {what} {name:?} on this machine."));
    find(name).or_else(numeric).map(Some).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        let find = |user, group| Owners::find(Some(user), Some(group)).map(|owners| (owners.user, owners.group));
        assert_eq!(find("root", "root").unwrap(), (Some(0), Some(0)));
        assert_eq!(find("12345", "").unwrap(), (Some(12_345), None));
        for (user, group) in [("no such user", ""), ("", "no such group"), ("4294967295", ""), ("-1", ""), ("a\0", "")]
        {
            assert!(find(user, group).is_err(), "{user:?}, {group:?}");
        }
        assert!(Owners::find(None, None).unwrap().is_none());
        let mut names = Names::default();
        assert_eq!(
            (names.user(0), names.group(0), names.user(3_999_999_999)),
            ("root".into(), "root".into(), "3999999999".into())
        );
    }
}
