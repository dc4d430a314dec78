//! The frame around every view: the header, the rail or the sheet, and the view that the address names.

use leptos::{lazy, prelude::*, task::spawn_local};
use odds::Feed;

use super::{
    alerts::{AlertsPage, Bell},
    analysis::{MoversPage, OpportunitiesPage},
    api::{self, Me, Site},
    bar::Bar,
    board::{BoardPage, Troubles},
    brand::Brand,
    browser,
    event_view::EventPanel,
    extra,
    help::Help,
    kept, keys,
    route::{Route, Router},
    settings::Settings,
    shared::{either, later, when},
    side::Side,
    stream::{Connection, Stream},
    who::Who,
};
use crate::{text, view::Key};

/// When the page loads what opening an event and keeping the boards need.
const PRELOAD_AFTER: std::time::Duration = std::time::Duration::from_secs(4);
const KEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(300);
/// How long small charts wait for the board.
const SPARKLINES_AFTER: std::time::Duration = std::time::Duration::from_secs(1);
const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

#[component]
pub(crate) fn Frame(who: RwSignal<Who>, me: Me, sign_out: Callback<()>) -> impl IntoView {
    let router = Router::start();
    let stream = Stream::start(&me.regions);
    let sheet = RwSignal::new(false);
    let help = RwSignal::new(false);
    follow_session(stream, who);
    Effect::new(move |_| {
        let route = router.get();
        stream.opened.set(if let Route::Event(id) = &route { Some(id.clone()) } else { None });
        let title = match route {
            Route::Board => text::LIVE_ODDS,
            Route::Movers => text::MOVERS,
            Route::Opportunities => text::OPPORTUNITIES,
            Route::Alerts => text::ALERTS,
            Route::Settings => text::SETTINGS,
            // Until the view says its name.
            Route::Event(_) | Route::Extra(_) => text::EVENT,
        };
        browser::set_title(title);
        sheet.set(false);
    });
    // The first click on an event doesn't wait for code, and a page that is left can't.
    let preload = async {
        __preload_opened().await;
        kept::__preload_keep().await;
    };
    set_timeout(|| spawn_local(preload), PRELOAD_AFTER);
    let at_board = move || matches!(router.get(), Route::Board | Route::Event(_));
    let open_sheet = move |_| {
        sheet.update(|sheet| *sheet = !*sheet);
        if sheet.get_untracked() {
            browser::focus_soon("sheet");
        }
    };
    let filters = move || stream.query.with(|query| query.sports.len() + query.bookmakers.len());
    let open_filters = move || match filters() {
        0 => text::FILTERS.to_owned(),
        count => format!("{} ({count})", text::FILTERS),
    };
    view! {
        <div class="frame" class:sheet=sheet>
            <header class="top">
                {when(at_board, || view! { <a class="skip" href="#board">{text::SKIP}</a> }.into_any())}
                <h1>
                    <a href="/" aria-label=text::TO_BOARD on:click=router.follow(Route::Board)><Brand/></a>
                </h1>
                <State stream/>
                {when(
                    move || stream.connection.get() != Connection::Connecting,
                    move || later(extras(stream, router, sheet, help)),
                )}
                <button class="sheet-button" aria-expanded=move || sheet.get().to_string() aria-controls="sheet" on:click=open_sheet>
                    {open_filters}
                </button>
            </header>
            <div class="controls" id="sheet" tabindex="-1">
                {when(at_board, move || view! { <Bar stream/> }.into_any())}
                <Side stream router more=me.more sign_out help/>
                <button class="primary done" on:click=move |_| sheet.set(false)>{text::DONE}</button>
            </div>
            {either(
                at_board,
                move || view! { <BoardPage stream sheet/> }.into_any(),
                move || later(elsewhere(stream, router, who, me.name.clone())),
            )}
            {move || stream.opened.get().map(|id| later(opened(stream, router, id)))}
            <footer class="foot">
                <Troubles stream/>
                <About stream/>
            </footer>
        </div>
    }
}

/// The views without a board.
#[lazy]
fn elsewhere(stream: Stream, router: Router, who: RwSignal<Who>, name: String) -> AnyView {
    let view = move || match router.get() {
        Route::Movers => later(movers(stream, router)),
        Route::Opportunities => later(opportunities(stream, router)),
        Route::Alerts => view! { <AlertsPage stream router/> }.into_any(),
        Route::Extra(name) => extra::view(name),
        _ => view! { <Settings who name=name.clone()/> }.into_any(),
    };
    view.into_any()
}

#[lazy]
fn movers(stream: Stream, router: Router) -> AnyView {
    view! { <MoversPage stream router/> }.into_any()
}

#[lazy]
fn opportunities(stream: Stream, router: Router) -> AnyView {
    view! { <OpportunitiesPage stream router/> }.into_any()
}

#[lazy]
fn opened(stream: Stream, router: Router, id: Key) -> AnyView {
    view! { <EventPanel stream router id/> }.into_any()
}

#[lazy]
fn shortcuts(help: RwSignal<bool>) -> AnyView {
    view! { <Help help/> }.into_any()
}

/// What nobody needs before the board is there.
#[lazy]
fn extras(stream: Stream, router: Router, sheet: RwSignal<bool>, help: RwSignal<bool>) -> AnyView {
    keys::follow(stream, router, sheet, help);
    keep_boards(stream);
    draw_sparklines(stream);
    keep_session();
    view! {
        <Bell stream router/>
        {when(move || help.get(), move || later(shortcuts(help)))}
    }
    .into_any()
}

/// Keeps the boards when the page is hidden or left, and now and then: it may be ended without notice.
fn keep_boards(stream: Stream) {
    let keep = move || spawn_local(kept::keep(stream));
    for event in ["visibilitychange", "pagehide"] {
        let handle = window_event_listener_untyped(event, move |_| {
            if browser::is_hidden() {
                keep();
            }
        });
        on_cleanup(move || handle.remove());
    }
    let regularly = set_interval_with_handle(keep, KEEP_EVERY).ok();
    on_cleanup(move || {
        if let Some(regularly) = regularly {
            regularly.clear();
        }
    });
}

/// Loads what draws the small charts beside the outcomes, and tells it what they show.
fn draw_sparklines(stream: Stream) {
    Effect::new(move |_| {
        let regions = stream.regions.get().into_iter().map(|region| ("region", region.key().to_owned()));
        let market = stream.query.with(|query| ("market", query.market.clone()));
        browser::mark_root("data-charted", &browser::parameters(regions.chain([market]).collect()));
    });
    set_timeout(|| browser::load(browser::SPARKLINE_CODE), SPARKLINES_AFTER);
}

/// Notices that the user was signed out.
fn follow_session(stream: Stream, who: RwSignal<Who>) {
    Effect::new(move |_| {
        if !stream.signed_out.get() {
            return;
        }
        let look = move || {
            spawn_local(async move {
                let site = api::site().await;
                // The user may have signed out on this page, and be signing in again.
                if stream.is_over() {
                    return;
                }
                match site {
                    // The password was changed on this page, which has a new session now.
                    Ok(Site { me: Some(_), .. }) => stream.connect_again(),
                    _ => who.set(Who::Nobody { notice: Some(text::SIGNED_OUT) }),
                }
            });
        };
        // The new session's cookie may still be on its way.
        set_timeout(look, std::time::Duration::from_secs(1));
    });
}

/// Watching the board counts as use of the session, so that it doesn't expire.
fn keep_session() {
    let asked = set_interval_with_handle(|| spawn_local(async { drop(api::site().await) }), HOUR).ok();
    on_cleanup(move || {
        if let Some(asked) = asked {
            asked.clear();
        }
    });
}

/// The connection's state, which is always visible.
#[component]
fn State(stream: Stream) -> impl IntoView {
    let shown = move || match stream.connection.get() {
        Connection::Connecting => ("wait", text::CONNECTING.to_owned()),
        // Connected, but the boards are not up to date yet.
        Connection::Live if !stream.loaded.get() => ("behind", text::LIVE.to_owned()),
        Connection::Live => ("live", text::LIVE.to_owned()),
        Connection::Reconnecting => ("wait", text::RECONNECTING.to_owned()),
        Connection::Offline => ("off", text::OFFLINE.to_owned()),
        Connection::Ended(reason) => ("off", text::not_connected(&reason)),
    };
    view! {
        <span class="state" role="status" data-state=move || shown().0>
            {move || shown().1}
        </span>
    }
}

/// Says that odds are made up, or of the past.
#[component]
fn About(stream: Stream) -> impl IntoView {
    let any = move |is: fn(&Feed) -> bool| stream.feeds.with(|feeds| feeds.values().any(is));
    let about = move || match (any(Feed::is_replayed), any(Feed::is_simulated)) {
        (false, false) => "",
        (true, _) => text::REPLAYED,
        (false, true) => text::SIMULATED,
    };
    let speed =
        move || stream.feeds.with(|feeds| feeds.values().find_map(Feed::simulated_speed).map(text::simulated_speed));
    view! { <p class="banner" class:hidden=move || about().is_empty()>{about} " " {speed}</p> }
}
