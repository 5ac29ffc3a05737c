//! An error and why.

use std::error::Error;

/// An error's text with those of its causes. A cause whose words are told already is not told again: many errors quote theirs.
pub fn text(error: &dyn Error) -> String {
    let text = error.to_string();
    match causes(error) {
        Some(causes) => format!("{text}: {causes}"),
        None => text,
    }
}

/// The texts of an error's causes, without those that its own text quotes; nothing if there are none.
pub fn causes(error: &dyn Error) -> Option<String> {
    let mut told = error.to_string();
    let own = told.len();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !told.contains(&words) {
            told = format!("{told}: {words}");
        }
        cause = error.source();
    }
    told.get(own + 2..).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&**self.1.as_ref()?)
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        let link = |text, cause: Option<Link>| Link(text, cause.map(Box::new));
        let error = link("a failed: b", Some(link("b", Some(link("", Some(link("c", None)))))));
        assert_eq!(text(&error), "a failed: b: c");
        assert_eq!(causes(&error).as_deref(), Some("c"));
        assert_eq!(causes(&link("a: b", Some(link("b", None)))), None);
        assert_eq!(text(&link("é", None)), "é");
    }
}
