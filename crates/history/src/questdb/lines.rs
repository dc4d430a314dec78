//! Rows in the server's line protocol.

use std::fmt::{Display, Write};

use odds::Timestamp;

use super::sql::micros;

/// Lines that are written in one request, which is one transaction.
#[derive(Debug, Default)]
pub(super) struct Lines(String);

/// The columns of a row of a region's table.
pub(super) struct Line<'a> {
    pub(super) at: Timestamp,
    pub(super) log: &'a dyn Display,
    pub(super) event: &'a str,
    pub(super) market: &'a str,
    pub(super) bookmaker: &'a str,
    pub(super) names: Option<&'a str>,
    pub(super) content: &'a str,
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Adds a row of a region's table.
    pub(super) fn add(&mut self, table: &str, line: &Line<'_>) {
        let Line { at, log, event, market, bookmaker, names, content } = line;
        self.begin(table, &[("log", log), ("event", event), ("market", market), ("bookmaker", bookmaker)]);
        if let Some(names) = names {
            self.symbol("names", names);
        }
        self.0.push_str(" content=\"");
        self.escaped(content, &['"', '\\', '\n']);
        self.0.push('"');
        self.end(*at);
    }

    /// Adds a row of the catalog.
    pub(super) fn add_to_catalog(&mut self, table: &str, at: Timestamp, columns: [(&str, &dyn Display); 3]) {
        self.begin(table, &columns);
        self.end(at);
    }

    fn begin(&mut self, table: &str, symbols: &[(&str, &dyn Display)]) {
        self.0.push_str(table);
        for (name, value) in symbols {
            self.symbol(name, &value.to_string());
        }
    }

    fn symbol(&mut self, name: &str, value: &str) {
        self.0.push(',');
        self.0.push_str(name);
        self.0.push('=');
        self.escaped(value, &[' ', ',', '=', '\\', '\n', '\r']);
    }

    fn end(&mut self, at: Timestamp) {
        writeln!(self.0, " {}", micros(at)).expect("writing to memory");
    }

    fn escaped(&mut self, value: &str, special: &[char]) {
        for character in value.chars() {
            if special.contains(&character) {
                self.0.push('\\');
            }
            self.0.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads up to one of some characters that is not escaped. Returns what it means, and what comes after it.
    fn until<'a>(text: &'a str, ends: &[char]) -> (String, &'a str) {
        let mut value = String::new();
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                end if ends.contains(&end) => return (value, &text[at + end.len_utf8()..]),
                plain => value.push(plain),
            }
        }
        (value, "")
    }

    proptest! {
        #[test]
        fn a_line_means_what_was_added(names in "[ ,=\\\\\"\n\ra-é]{1,12}", content in "[ ,=\\\\\"\n\ra-é]{0,12}") {
            let mut lines = Lines::default();
            let at = Timestamp::from_millis(1_795_780_800_000);
            let line = Line {
                at, log: &"5.1.1", event: "e", market: "m", bookmaker: "b", names: Some(&names), content: &content,
            };
            lines.add("table", &line);
            let text = lines.finish();
            let rest = text.strip_prefix("table,log=5.1.1,event=e,market=m,bookmaker=b,names=").unwrap();
            let (read, rest) = until(rest, &[' ', ',', '=', '\n', '\r']);
            prop_assert_eq!(read, names);
            let (read, rest) = until(rest.strip_prefix("content=\"").unwrap(), &['"']);
            prop_assert_eq!((read, rest), (content, " 1795780800000000\n"));
        }
    }
}
