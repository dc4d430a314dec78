//! The page: a Leptos app that shows the boards live, over the public protocol.

mod app;
mod socket;

/// Runs in a browser. That the same code compiles for the host is for its tests.
fn main() {
    console_error_panic_hook::set_once();
    leptos::mount::mount_to_body(app::App);
}
