//! The chart of an outcome's prices. It is drawn by a custom element, whose code (`web/assets/chart.js`) is loaded with the
//! first opened event. Here, it gets its attributes. They are plain text, because code for other types would be larger.

use leptos::prelude::*;

use super::{
    browser,
    ladder::label_of_outcome,
    stream::{Opened, Stream},
    time,
};
use crate::{
    text,
    view::{EventView, Key, Line, OutcomeView, market_title},
};

/// What names an outcome within its event, as a part of a query of the history.
pub(crate) fn query_of(line: &Line, outcome: &OutcomeView) -> String {
    let mut pairs = vec![("market", line.market.to_string()), ("outcome", outcome.name.clone())];
    pairs.extend(outcome.point.map(|point| ("point", point.to_string())));
    pairs.extend(line.description.clone().map(|it| ("description", it)));
    browser::parameters(pairs)
}

/// The chosen outcome, or else the first one of the board's market.
fn find<'a>(event: &'a EventView, chosen: &str, market: &str) -> Option<(&'a Line, &'a OutcomeView)> {
    for line in &event.lines {
        for outcome in &line.outcomes {
            if query_of(line, outcome) == chosen {
                return Some((line, outcome));
            }
        }
    }
    let line = event.main_line(market).or(event.lines.first())?;
    Some((line, line.outcomes.first()?))
}

/// Shows the chart of the outcome that `choice` names.
pub(crate) fn chart(stream: Stream, opened: Opened, id: Key, choice: RwSignal<String>) -> AnyView {
    browser::load(browser::CHART_CODE);
    Effect::new(move |_| {
        let shown = opened.shown.get();
        let Some(event) = shown.event.as_ref() else { return };
        let query = stream.query.get();
        let Some((line, outcome)) = find(event, &choice.get(), &query.market) else { return };
        let mut wanted = ["event=", &id, "&", &query_of(line, outcome)].concat();
        for region in stream.regions.get() {
            wanted += &["&region=", region.key()].concat();
        }
        let mut names = String::new();
        for key in outcome.offers.keys() {
            names += &[key.as_str(), " ", &stream.bookmaker(key.as_str()), "\n"].concat();
        }
        let about = line.description.as_deref().unwrap_or_default();
        let heading = [about, " ", &label_of_outcome(outcome), " · ", &market_title(line.market.as_str())].concat();
        let mut live = String::new();
        if shown.loaded {
            live = time::now().as_millis().to_string();
            for (region, bookmaker, price) in
                opened.prices_of(&line.market, (&outcome.name, outcome.point, line.description.as_deref()))
            {
                live += &["\n", region.key(), " ", bookmaker.as_str(), " ", &price.to_string()].concat();
            }
        }
        let attributes = [
            ("heading", heading),
            ("format", query.format.key().to_owned()),
            ("mine", query.mine.join(",")),
            ("names", names),
            ("starts", event.details.commence_time.as_millis().to_string()),
            ("query", wanted),
            ("live", live),
        ];
        // When it is there.
        request_animation_frame(move || browser::set_attributes("price-chart", &attributes));
    });
    view! { <section aria-label=text::CHART inner_html="<price-chart id=price-chart></price-chart>"></section> }
        .into_any()
}
