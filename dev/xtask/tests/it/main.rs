//! What the files beside the program promise.

mod alerts;
mod compose;
