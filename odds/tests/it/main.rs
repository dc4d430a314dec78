//! The domain as its users see it: histories of leaders and readers, boards and their clients.

mod exhaustive;
mod history;
mod random;
mod resume;
