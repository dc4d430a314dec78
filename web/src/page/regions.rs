//! The choice of the regions. A change applies at once, on all of the user's pages.

use std::time::Duration;

use leptos::{prelude::*, task::spawn_local};
use odds::Region;

use super::{api, stream::Stream};
use crate::text;

/// How long the reason stays for which the regions are as they were.
const TROUBLE_FOR: Duration = Duration::from_secs(10);

/// The choice of regions. A change applies at once, on all of the user's pages.
#[component]
pub(crate) fn Regions(stream: Stream) -> impl IntoView {
    let choice = Choice::new(stream);
    let trouble = choice.trouble;
    view! {
        <fieldset class="chips regions">
            <legend>{text::REGIONS}</legend>
            {Region::ALL
                .map(|region| {
                    let is_chosen = move || choice.shown().contains(&region);
                    view! {
                        <label class="chip" title=region.name()>
                            <input
                                type="checkbox" name="region" value=region.key() prop:checked=is_chosen
                                on:change=move |event| choice.choose(region, event_target_checked(&event))
                            />
                            <span>{region.key().to_ascii_uppercase()}</span>
                            <span class="unseen">{format!(", {}", region.name())}</span>
                        </label>
                    }
                })
                .collect_view()}
            <span class="error" role="alert">{trouble}</span>
        </fieldset>
    }
}

/// The chosen regions. A choice on this page is shown at once, before the gateway confirms it.
#[derive(Clone, Copy)]
struct Choice {
    stream: Stream,
    /// The choice that the gateway hasn't confirmed yet.
    wanted: RwSignal<Option<Vec<Region>>>,
    trouble: RwSignal<String>,
}

impl Choice {
    fn new(stream: Stream) -> Self {
        Self { stream, wanted: RwSignal::new(None), trouble: RwSignal::new(String::new()) }
    }

    fn shown(self) -> Vec<Region> {
        self.wanted.get().unwrap_or_else(|| self.stream.regions.get())
    }

    fn choose(self, region: Region, chosen: bool) {
        let mut regions = untrack(|| self.shown());
        regions.retain(|it| *it != region);
        if chosen {
            regions.push(region);
        }
        let is_asking = self.wanted.with_untracked(Option::is_some);
        self.wanted.set(Some(regions));
        if !is_asking {
            spawn_local(self.ask());
        }
    }

    /// Sends one request after the other, until the last choice has been sent or a request fails.
    async fn ask(self) {
        while let Some(regions) = self.wanted.try_get_untracked().flatten() {
            let trouble = match api::subscribe(&regions).await {
                _ if self.stream.is_over() => return,
                Ok(subscriptions) => {
                    self.stream.received("subscriptions", &subscriptions);
                    String::new()
                }
                Err(failure) => {
                    let forget = move || drop(self.trouble.try_set(String::new()));
                    set_timeout(forget, TROUBLE_FOR);
                    text::regions_kept(&failure.message)
                }
            };
            let is_done = |wanted: &Option<_>| !trouble.is_empty() || wanted.as_ref() == Some(&regions);
            if self.wanted.try_with_untracked(is_done) == Some(true) {
                self.wanted.try_set(None);
            }
            self.trouble.try_set(trouble);
        }
    }
}
