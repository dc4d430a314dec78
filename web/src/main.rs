//! The page: a Leptos app that shows the boards live, over the public interface and protocol.
#![cfg_attr(
    not(any(target_arch = "wasm32", clippy)),
    expect(dead_code, unused_imports, reason = "only the page uses it")
)]

mod boards;
/// Compiled only for a browser, and linted also without one.
#[cfg(any(target_arch = "wasm32", clippy))]
mod page;
mod view;

#[cfg(any(target_arch = "wasm32", clippy))]
fn main() {
    console_error_panic_hook::set_once();
    leptos::mount::mount_to_body(page::App);
}

#[cfg(not(any(target_arch = "wasm32", clippy)))]
fn main() {
    eprintln!("This program is the page, and runs in a browser: `cargo xtask page` builds it.");
}
