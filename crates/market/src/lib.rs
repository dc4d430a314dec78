//! What prices mean, without I/O: which of them can be compared, what margin a bookmaker takes, and what the bookmakers
//! together think of an outcome, how that moved, and which bets are worth placing.

mod best;
mod consensus;
mod lines;
mod moves;
mod opportunities;

pub use best::{best_price, main_line};
pub use consensus::Consensus;
pub use lines::{Line, LineOutcome, lines, lines_of};
pub use moves::{Move, moves};
pub use opportunities::{Arbitrage, Commission, Leg, Stakes, edge, is_exchange, kelly};
