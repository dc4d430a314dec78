//! The page: a Leptos app that shows the boards live, over the public interface and protocol.

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
mod view;

/// Runs in a browser. That the same code compiles for the host is for its tests.
fn main() {
    console_error_panic_hook::set_once();
    leptos::mount::mount_to_body(app::App);
}
