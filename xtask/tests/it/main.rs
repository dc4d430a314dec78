//! What the files beside the program promise.

mod compose;
