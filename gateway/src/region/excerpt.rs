//! A part of a region's board, for requests that look at a few events.

use odds::{Board, EventId, Marker, Reader, SportKey};

/// Which events are wanted.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Event(EventId),
    Sport(SportKey),
    All,
    /// Only the marker.
    Nothing,
}

/// Some events of a verified board, and the marker of its step.
#[derive(Clone, Debug)]
pub(crate) struct Excerpt {
    pub(crate) board: Board,
    pub(crate) marker: Marker,
}

impl Excerpt {
    /// `None` while there is no verified board.
    pub(super) fn of(reader: &Reader, wanted: &Wanted) -> Option<Self> {
        let marker = reader.marker().filter(|_| reader.is_verified())?.clone();
        let all = reader.board();
        if let Wanted::All = wanted {
            return Some(Self { board: all.clone(), marker });
        }
        let mut board = Board::remembering(1);
        let mut copy = |id: &EventId| {
            if let Some(image) = all.image(id, marker.at) {
                board.set(id, &image);
            }
        };
        match wanted {
            Wanted::Event(id) => copy(id),
            Wanted::Sport(sport) => {
                let is_of_sport = |id: &&EventId| all.details(id).is_some_and(|details| details.sport_key == *sport);
                all.event_ids().filter(is_of_sport).for_each(copy);
            }
            Wanted::All | Wanted::Nothing => {}
        }
        Some(Self { board, marker })
    }
}
