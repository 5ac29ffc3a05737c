//! Keys whose value is a table, or a list of tables.

use toml::{Table, Value};

use super::Section;

impl<'r> Section<'r> {
    /// The table `key` as its reader makes it; an empty one when the file has none.
    pub(in super::super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'r>) -> T) -> T {
        let table = self.take_table(key).unwrap_or_default();
        self.read_nested(self.name(key), table, read)
    }

    /// The table `key` as its reader makes it, if the file has one.
    pub(in super::super) fn optional_table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'r>) -> T,
    ) -> Option<T> {
        let table = self.take_table(key)?;
        Some(self.read_nested(self.name(key), table, read))
    }

    /// Each table of a list of tables, as the reader makes it.
    pub(in super::super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'r>) -> T,
    ) -> Vec<T> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => return self.refuse(key, "must be a list of tables").unwrap_or_default(),
        };
        let mut made = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let name = format!("{}[{index}]", self.name(key));
            match item {
                Value::Table(table) => made.push(self.read_nested(name, table, &mut read)),
                _ => self.report.fail(&name, "must be a table"),
            }
        }
        made
    }

    fn read_nested<T>(&self, path: String, table: Table, read: impl FnOnce(&mut Section<'r>) -> T) -> T {
        let mut nested = Section::new(path, table, self.report);
        let made = read(&mut nested);
        nested.finish();
        made
    }

    fn take_table(&mut self, key: &'static str) -> Option<Table> {
        match self.take(key)? {
            Value::Table(table) => Some(table),
            _ => self.refuse(key, "must be a table"),
        }
    }
}
