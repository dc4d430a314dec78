//! The page's views and its connection to the gateway. Runs, and is tested, only in a browser.

mod alerts;
mod analysis;
mod api;
mod app;
mod bar;
mod board;
mod brand;
mod browser;
mod cell;
mod chart;
mod choices;
mod columns;
mod event_card;
mod event_view;
mod extra;
mod form;
mod frame;
mod help;
mod kept;
mod keys;
mod ladder;
mod menu;
mod messages;
mod regions;
mod route;
mod select;
mod settings;
mod shared;
mod side;
mod sign_in;
mod socket;
mod stream;
mod time;
mod who;

pub(crate) use app::App;
