//! The page's views and its connection to the gateway. Runs, and is tested, only in a browser.

mod api;
mod app;
mod board;
mod brand;
mod browser;
mod choices;
mod event_card;
mod form;
mod settings;
mod shared;
mod sign_in;
mod socket;
mod stream;
mod who;

pub(crate) use app::App;
