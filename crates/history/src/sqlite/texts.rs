//! Texts by number: keys, names, details and the shapes of quotes are stored once.

use std::{collections::HashMap, sync::Arc};

use odds::Outcome;
use rusqlite::{Connection, OptionalExtension, Result};

use super::encoding::{Lookup, Numbering, damaged};

/// How many texts are remembered. When there are more, all are forgotten: those in use come back at once.
const REMEMBERED: usize = 100_000;

/// The numbers of texts, for writing. Forget them after a transaction that was rolled back.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<String, u64>);

impl Numbers {
    pub(super) fn in_transaction<'a>(&'a mut self, connection: &'a Connection) -> NumberingIn<'a> {
        NumberingIn { numbers: self, connection }
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

pub(super) struct NumberingIn<'a> {
    numbers: &'a mut Numbers,
    connection: &'a Connection,
}

impl Numbering for NumberingIn<'_> {
    fn number(&mut self, text: &str) -> Result<u64> {
        if let Some(number) = self.numbers.0.get(text) {
            return Ok(*number);
        }
        let known = number_of(self.connection, text)?;
        let number = match known {
            Some(number) => number,
            None => {
                self.connection.prepare_cached("INSERT INTO texts (text) VALUES (?1)")?.execute([text])?;
                self.connection.last_insert_rowid() as u64
            }
        };
        if self.numbers.0.len() >= REMEMBERED {
            self.numbers.0.clear();
        }
        self.numbers.0.insert(text.to_owned(), number);
        Ok(number)
    }
}

/// The number of a text; `None` if it is not stored.
pub(super) fn number_of(connection: &Connection, text: &str) -> Result<Option<u64>> {
    let mut select = connection.prepare_cached("SELECT id FROM texts WHERE text = ?1")?;
    select.query_row([text], |row| row.get::<_, i64>(0)).map(|id| id as u64).optional()
}

/// The texts of numbers, for reading.
#[derive(Debug, Default)]
pub(super) struct Texts {
    texts: HashMap<u64, Arc<str>>,
    shapes: HashMap<u64, Arc<[Outcome]>>,
    /// The shape that was read last: mostly, the next one is the same.
    last_shape: Option<(u64, Arc<[Outcome]>)>,
}

impl Texts {
    pub(super) fn on<'a>(&'a mut self, connection: &'a Connection) -> LookupOn<'a> {
        LookupOn { texts: self, connection }
    }
}

pub(super) struct LookupOn<'a> {
    texts: &'a mut Texts,
    connection: &'a Connection,
}

impl Lookup for LookupOn<'_> {
    fn text(&mut self, number: u64) -> Result<Arc<str>> {
        if let Some(text) = self.texts.texts.get(&number) {
            return Ok(text.clone());
        }
        let mut select = self.connection.prepare_cached("SELECT text FROM texts WHERE id = ?1")?;
        let text = select.query_row([number as i64], |row| row.get::<_, Arc<str>>(0)).optional()?;
        let text = text.ok_or_else(damaged)?;
        if self.texts.texts.len() >= REMEMBERED {
            self.texts.texts.clear();
        }
        self.texts.texts.insert(number, text.clone());
        Ok(text)
    }

    fn shape(&mut self, number: u64) -> Result<Arc<[Outcome]>> {
        if let Some((_, shape)) = self.texts.last_shape.as_ref().filter(|(last, _)| *last == number) {
            return Ok(shape.clone());
        }
        let shape = self.numbered_shape(number)?;
        self.texts.last_shape = Some((number, shape.clone()));
        Ok(shape)
    }
}

impl LookupOn<'_> {
    fn numbered_shape(&mut self, number: u64) -> Result<Arc<[Outcome]>> {
        if let Some(shape) = self.texts.shapes.get(&number) {
            return Ok(shape.clone());
        }
        let outcomes: Vec<Outcome> = serde_json::from_str(&self.text(number)?).map_err(|_| damaged())?;
        let shape = Arc::<[Outcome]>::from(outcomes);
        if self.texts.shapes.len() >= REMEMBERED {
            self.texts.shapes.clear();
        }
        self.texts.shapes.insert(number, shape.clone());
        Ok(shape)
    }
}
