//! The names of outcomes that were read so far: few quotes differ in them.

use std::{collections::HashMap, fmt::Write};

use super::{
    encoding::{Damage, Names},
    sql::quoted,
};

/// How long the names are, together, that numbers replace in an answer. They are part of the query.
const MOST_NUMBERED: usize = 4_000;

#[derive(Debug, Default)]
pub(super) struct KnownNames {
    known: Vec<(String, Names)>,
    places: HashMap<String, usize>,
}

impl KnownNames {
    /// A column with numbers instead of names that are known: most of an answer would be names.
    pub(super) fn column(&self) -> String {
        let (mut cases, mut length) = (String::new(), 0);
        for (place, (text, _)) in self.known.iter().enumerate() {
            length += text.len();
            if length > MOST_NUMBERED {
                break;
            }
            let _ = write!(cases, " WHEN {} THEN '{place}'", quoted(text));
        }
        if cases.is_empty() { "names".to_owned() } else { format!("CASE names{cases} ELSE names END") }
    }

    /// The names in a row: their text, their number in [`KnownNames::column`], or none.
    pub(super) fn find(&mut self, names: Option<&str>) -> Result<&mut Names, Damage> {
        let text = names.unwrap_or("[]");
        // The text is a JSON array, so it is never a number.
        let place = match text.parse::<usize>() {
            Ok(number) => number,
            Err(_) => match self.places.get(text) {
                Some(place) => *place,
                None => self.add(text)?,
            },
        };
        self.known.get_mut(place).map(|(_, names)| names).ok_or(Damage)
    }

    fn add(&mut self, text: &str) -> Result<usize, Damage> {
        let place = self.known.len();
        self.known.push((text.to_owned(), Names::read(text)?));
        self.places.insert(text.to_owned(), place);
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"["Home","O'Hara"]"#;

    #[test]
    fn a_number_means_the_names_that_it_replaces() {
        let mut known = KnownNames::default();
        assert_eq!(known.column(), "names");
        let two = known.find(Some(TWO)).unwrap().outcomes().to_vec();
        let long = format!(r#"["{}"]"#, "a".repeat(MOST_NUMBERED));
        known.find(Some(&long)).unwrap();
        assert_eq!(known.column(), r#"CASE names WHEN '["Home","O''Hara"]' THEN '0' ELSE names END"#);
        assert_eq!(known.find(Some("0")).unwrap().outcomes(), two);
        assert!(known.find(None).unwrap().outcomes().is_empty());
        assert_eq!(known.find(Some("3")).unwrap_err(), Damage);
        assert_eq!(known.find(Some("[")).unwrap_err(), Damage);
    }
}
