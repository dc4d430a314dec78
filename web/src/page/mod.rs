//! What is on the screen, and the connection that it comes by. Runs only in a browser, and is tested there.

mod api;
mod app;
mod board;
mod browser;
mod choices;
mod event_card;
mod form;
mod settings;
mod shared;
mod sign_in;
mod socket;
mod stream;

pub(crate) use app::App;
