//! What prices mean, without I/O: which of them can be compared, what margin a bookmaker takes, and what the bookmakers
//! together think of an outcome.

mod best;
mod consensus;
mod lines;
mod moves;

pub use best::{best_price, main_line};
pub use consensus::{Consensus, closing_line_value};
pub use lines::{Line, LineOutcome, lines, lines_of};
pub use moves::{Move, moves};
