//! The page's components.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use leptos::prelude::*;
use odds::{Decimal, FeedState, Live, MirrorEvent, News, Region, Timestamp};

use crate::socket::{Client, Happening};

/// The connection to the gateway, as the page shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Connection {
    Connecting,
    Live,
    Reconnecting,
}

/// One line of the table: an event of a region, with the best price of each outcome.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    key: String,
    region: Region,
    title: String,
    sport: String,
    start: Timestamp,
    prices: Vec<(String, Decimal, String)>,
    stale: bool,
}

#[component]
pub(crate) fn App() -> impl IntoView {
    let live = StoredValue::new_local(Live::default());
    let version = RwSignal::new(0u64);
    let connection = RwSignal::new(Connection::Connecting);
    connect(live, version, connection);

    let rows = Memo::new(move |_| {
        version.track();
        live.with_value(rows_of)
    });
    let simulated = Memo::new(move |_| {
        version.track();
        live.with_value(|live| live.feeds.values().any(|feed| feed.source == "simulator"))
    });
    view! {
        <Show when=move || simulated.get()>
            <p class="banner" role="note">"These odds are simulated. Nobody offers them."</p>
        </Show>
        <header>
            <h1>"Toteboard"</h1>
            <span class="state" role="status">
                {move || match connection.get() {
                    Connection::Connecting => "connecting",
                    Connection::Live => "live",
                    Connection::Reconnecting => "reconnecting",
                }}
            </span>
        </header>
        <main>
            <table>
                <thead>
                    <tr>
                        <th>"Region"</th>
                        <th>"Event"</th>
                        <th colspan="3">"Best price"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || rows.get() key=|row| row.key.clone() let:row>
                        <EventRow key=row.key rows/>
                    </For>
                </tbody>
            </table>
        </main>
    }
}

#[component]
fn EventRow(key: String, rows: Memo<Vec<Row>>) -> impl IntoView {
    let row = Memo::new(move |_| rows.with(|rows| rows.iter().find(|row| row.key == key).cloned()));
    view! {
        <tr class:stale=move || row.get().is_some_and(|row| row.stale)>
            <td>{move || row.get().map(|row| row.region.key())}</td>
            <td>
                {move || row.get().map(|row| row.title)}
                <div class="faint">
                    {move || row.get().map(|row| format!("{} · {}", row.sport, row.start))}
                </div>
            </td>
            {move || {
                row.get()
                    .into_iter()
                    .flat_map(|row| row.prices)
                    .map(|(name, price, bookmaker)| {
                        view! {
                            <td class="price" data-outcome=name.clone()>
                                {price.to_string()}
                                <div class="faint">{format!("{name} · {bookmaker}")}</div>
                            </td>
                        }
                    })
                    .collect_view()
            }}
        </tr>
    }
}

fn rows_of(live: &Live) -> Vec<Row> {
    let mut rows = Vec::new();
    for (region, board) in &live.boards {
        let feed = live.feeds.get(region);
        for (id, event) in board.events() {
            let fresh = feed.is_some_and(|feed| {
                let sport = feed.sports.get(&event.details.sport_key);
                feed.state == FeedState::Live && sport.is_some_and(|sport| sport.stale_after >= feed.at)
            });
            rows.push(Row {
                key: format!("{region} {id}"),
                region: *region,
                title: title_of(event),
                sport: event.details.sport_title.clone(),
                start: event.details.commence_time,
                prices: best_prices(event),
                stale: !fresh,
            });
        }
    }
    rows.sort_by(|a, b| (a.start, &a.key).cmp(&(b.start, &b.key)));
    rows
}

fn title_of(event: &MirrorEvent) -> String {
    match (&event.details.home_team, &event.details.away_team) {
        (Some(home), Some(away)) => format!("{home} – {away}"),
        _ => event.details.sport_title.clone(),
    }
}

/// The highest price of each outcome of the market `h2h`, and who offers it.
fn best_prices(event: &MirrorEvent) -> Vec<(String, Decimal, String)> {
    let mut best: BTreeMap<String, (Decimal, String)> = BTreeMap::new();
    for ((bookmaker, market), quote) in &event.quotes {
        if market.as_str() != "h2h" {
            continue;
        }
        for outcome in quote.outcomes.to_vec() {
            let entry = best.entry(outcome.name).or_insert_with(|| (outcome.price, bookmaker.to_string()));
            if outcome.price > entry.0 {
                *entry = (outcome.price, bookmaker.to_string());
            }
        }
    }
    best.into_iter().map(|(name, (price, bookmaker))| (name, price, bookmaker)).collect()
}

fn connect(live: StoredValue<Live, LocalStorage>, version: RwSignal<u64>, connection: RwSignal<Connection>) {
    let location = window().location();
    let scheme = if location.protocol().is_ok_and(|it| it == "https:") { "wss" } else { "ws" };
    let host = location.host().unwrap_or_default();
    let url = format!("{scheme}://{host}/socket.io/?EIO=4&transport=websocket");
    let auth = move || live.with_value(|live| serde_json::json!({ "v": 1, "resume": live.cursors() }));
    let client: Rc<RefCell<Option<Client>>> = Rc::default();
    let to_ask = client.clone();
    let tell = move |happening| match happening {
        Happening::Connected => connection.set(Connection::Live),
        Happening::Disconnected => {
            live.update_value(Live::disconnected);
            connection.set(Connection::Reconnecting);
        }
        Happening::Event { name, payload } => {
            let mut update = News::Nothing;
            live.update_value(|live| update = live.take(&name, &payload));
            match update {
                News::Nothing => {}
                News::Board(_) | News::Feed(_) | News::Regions => version.update(|version| *version += 1),
                News::Resync(region, cursor) => {
                    if let Some(client) = &*to_ask.borrow() {
                        client.emit("resync", &serde_json::json!({ "region": region, "cursor": cursor }));
                    }
                }
            }
        }
    };
    *client.borrow_mut() = Some(Client::connect(url, auth, tell));
}
