//! Why a text is no JSON: the place and the words of the peer's parser, which clients of it may match on.
//!
//! Only asked once a body was refused; serde_json, which reads all others, counts and speaks differently.

/// What is wrong, and where: characters before the fault.
pub type Fault = (usize, &'static str);

/// Finds the first fault of `text`. `None` if the peer's parser would find none: it takes what JSON does not have
/// (`NaN`, numbers beyond a double, half surrogates), and nests deeper.
pub fn explain(text: &str) -> Option<Fault> {
    let mut scan = Scan { text: text.chars().collect(), at: 0 };
    scan.blanks();
    if let Err(fault) = scan.value() {
        return Some(fault);
    }
    scan.blanks();
    (scan.at < scan.text.len()).then_some((scan.at, "Extra data"))
}

struct Scan {
    text: Vec<char>,
    at: usize,
}

impl Scan {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    /// Steps over `wanted` if it is next.
    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    /// Reads a value with all that is in it. What is open is kept in a list: the depth is the client's choice.
    fn value(&mut self) -> Result<(), Fault> {
        let mut open = Vec::new();
        loop {
            if !self.start(&mut open)? {
                while self.end(&mut open)? {}
                if open.is_empty() {
                    return Ok(());
                }
            }
        }
    }

    /// Reads a value, or the start of one that has more in it: then `true`.
    fn start(&mut self, open: &mut Vec<char>) -> Result<bool, Fault> {
        let close = match self.peek() {
            Some('{') => '}',
            Some('[') => ']',
            Some('"') => return self.string().map(|()| false),
            _ => return self.scalar().map(|()| false),
        };
        self.at += 1;
        self.blanks();
        if self.take(close) {
            return Ok(false);
        }
        if close == '}' {
            self.key()?;
        }
        open.push(close);
        Ok(true)
    }

    /// Reads what may follow a value: an end, after which there may be more (`true`), or a comma.
    fn end(&mut self, open: &mut Vec<char>) -> Result<bool, Fault> {
        let Some(&close) = open.last() else { return Ok(false) };
        self.blanks();
        if self.take(close) {
            open.pop();
            return Ok(true);
        }
        if !self.take(',') {
            return Err((self.at, "Expecting ',' delimiter"));
        }
        self.blanks();
        if close == '}' { self.key().map(|()| false) } else { Ok(false) }
    }

    fn key(&mut self) -> Result<(), Fault> {
        if self.peek() != Some('"') {
            return Err((self.at, "Expecting property name enclosed in double quotes"));
        }
        self.string()?;
        self.blanks();
        if !self.take(':') {
            return Err((self.at, "Expecting ':' delimiter"));
        }
        self.blanks();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        let unterminated = (self.at, "Unterminated string starting at");
        self.at += 1;
        loop {
            match self.peek().ok_or(unterminated)? {
                '"' => break,
                '\\' => self.escape(unterminated)?,
                '\0'..='\x1f' => return Err((self.at, "Invalid control character at")),
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self, unterminated: Fault) -> Result<(), Fault> {
        match self.text.get(self.at + 1).ok_or(unterminated)? {
            'u' => {
                let digits = self.text.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(char::is_ascii_hexdigit)) {
                    return Err((self.at + 1, "Invalid \\uXXXX escape"));
                }
                self.at += 6;
            }
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => self.at += 2,
            _ => return Err((self.at, "Invalid \\escape")),
        }
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        let begin = self.at;
        for word in ["null", "true", "false", "NaN", "Infinity", "-Infinity"] {
            if self.text[begin..].iter().copied().take(word.len()).eq(word.chars()) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.take('-');
        if !self.take('0') && self.digits() == 0 {
            return Err((begin, "Expecting value"));
        }
        self.fraction_and_exponent();
        Ok(())
    }

    /// Both are only taken whole; what is left of half of one is extra data.
    fn fraction_and_exponent(&mut self) {
        let mut end = self.at;
        if self.take('.') && self.digits() > 0 {
            end = self.at;
        }
        self.at = end;
        if self.take('e') || self.take('E') {
            let _ = self.take('+') || self.take('-');
            if self.digits() > 0 {
                end = self.at;
            }
        }
        self.at = end;
    }

    /// Steps over digits and counts them.
    fn digits(&mut self) -> usize {
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_where_and_what_the_peer_says() {
        const VALUE: &str = "Expecting value";
        const NAME: &str = "Expecting property name enclosed in double quotes";
        const STRING: &str = "Unterminated string starting at";
        for (text, at, what) in [
            ("{bad", 1, NAME),
            ("{", 1, NAME),
            ("{ ", 2, NAME),
            ("{\"a\":1 ,}", 8, NAME),
            ("{\"a\" 1}", 5, "Expecting ':' delimiter"),
            ("{\"a\" : }", 7, VALUE),
            ("{\"é\":x}", 5, VALUE),
            ("{\"a\":1 \"b\"", 7, "Expecting ',' delimiter"),
            ("[1", 2, "Expecting ',' delimiter"),
            ("[1,,2]", 3, VALUE),
            ("[1\n,\n]", 5, VALUE),
            ("nul", 0, VALUE),
            ("-a", 0, VALUE),
            ("01", 1, "Extra data"),
            ("1.e5", 1, "Extra data"),
            ("1e+", 1, "Extra data"),
            ("{}}", 2, "Extra data"),
            ("{\"a\":1,\"a", 7, STRING),
            ("\"abc\\", 0, STRING),
            ("\"\\x\"", 1, "Invalid \\escape"),
            ("\"\\u12\"", 2, "Invalid \\uXXXX escape"),
            ("\"a\nb\"", 2, "Invalid control character at"),
        ] {
            assert_eq!(explain(text), Some((at, what)), "{text}");
        }
    }

    #[test]
    fn what_is_whole_has_no_fault() {
        for text in ["{\"a\":[1.5e-3,{}, [] ,\"\\u00e9\\n\"]}", " -0 ", "[NaN,-Infinity]", "1e400", "\"\\ud800\""] {
            assert_eq!(explain(text), None, "{text}");
        }
        assert_eq!(explain(&"[".repeat(100_000)), Some((100_000, "Expecting value")));
    }
}
