//! The page: a Leptos app that shows the boards live, using only the public REST interface and the protocol.
#![cfg_attr(
    not(any(target_arch = "wasm32", clippy)),
    expect(dead_code, unused_imports, reason = "used only by the page, which is compiled for wasm")
)]

mod boards;
/// Compiled only for the browser, but linted on every target.
#[cfg(any(target_arch = "wasm32", clippy))]
mod page;
mod text;
mod view;

#[cfg(any(target_arch = "wasm32", clippy))]
fn main() {
    console_error_panic_hook::set_once();
    leptos::mount::mount_to_body(page::App);
}

#[cfg(not(any(target_arch = "wasm32", clippy)))]
fn main() {
    eprintln!("this program is the page, which runs in a browser: build it with `cargo xtask page`");
}
