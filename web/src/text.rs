//! All text of the page's interface, so that another language means translating this file. Messages of the gateway are
//! shown as they come.

use crate::view::{OddsFormat, When};

pub(crate) const NAME: &str = "Toteboard";
pub(crate) const WAIT: &str = "One moment…";
pub(crate) const TRY_AGAIN: &str = "Try again";
pub(crate) const TO_BOARD: &str = "Toteboard, to the board";
pub(crate) const SKIP: &str = "Skip to the board";
pub(crate) const VIEWS: &str = "Views";
pub(crate) const BOARD: &str = "Board";
pub(crate) const LIVE_ODDS: &str = "Live odds";
pub(crate) const SETTINGS: &str = "Settings";
pub(crate) const SIGN_OUT: &str = "Sign out";
pub(crate) const ACCOUNT: &str = "Account";
pub(crate) const SHORTCUTS: &str = "Shortcuts";
pub(crate) const CLOSE: &str = "Close";
pub(crate) const SIGNED_OUT: &str = "You were signed out. Sign in to go on.";
pub(crate) const SIGN_OUT_LATER: &str =
    "The server can't be reached. You will be signed out once it can: leave this page open.";
pub(crate) const UNREACHABLE: &str = "The server can't be reached. Check your connection and try again.";

// The connection.
pub(crate) const CONNECTING: &str = "Connecting";
pub(crate) const LIVE: &str = "Live";
pub(crate) const RECONNECTING: &str = "Reconnecting";
pub(crate) const OFFLINE: &str = "Offline";
pub(crate) const REPLAYED: &str = "A replay of recorded odds. Nobody offers these prices now.";
pub(crate) const SIMULATED: &str = "Simulated odds. Nobody offers these prices.";
pub(crate) const NO_REASON: &str = "no reason is known";
pub(crate) const SOME_OLD: &str = "some prices may be old";
pub(crate) const OLD: &str = "prices may be old";
pub(crate) const NONE_LIVE: &str = "there are no live prices";

// What is shown.
pub(crate) const FILTERS: &str = "Filters";
pub(crate) const SHOWN: &str = "What is shown";
pub(crate) const DONE: &str = "Done";
pub(crate) const SEARCH: &str = "Search teams";
pub(crate) const MARKET: &str = "Market";
pub(crate) const WHEN: &str = "When";
pub(crate) const SORT: &str = "Order";
pub(crate) const SPORTS: &str = "Sports";
pub(crate) const LIVE_NOW: &str = "Live now";
pub(crate) const REGIONS: &str = "Regions";
pub(crate) const BOOKMAKERS: &str = "Bookmakers";
pub(crate) const COLUMNS: &str = "Columns";
pub(crate) const ODDS: &str = "Odds";
pub(crate) const DENSITY: &str = "Density";
pub(crate) const THEME: &str = "Theme";
pub(crate) const DISPLAY: &str = "Display";
pub(crate) const ALL_BOOKMAKERS: &str = "All bookmakers";
pub(crate) const USUAL_COLUMNS: &str = "The usual columns";
pub(crate) const CHOOSE_REGION: &str = "Choose a region to see its odds.";
pub(crate) const CHOOSE_REGIONS: &str = "Choose regions";
pub(crate) const NOTHING: &str = "Nothing on the board matches what is chosen.";
pub(crate) const SHOW_EVERYTHING: &str = "Show everything";
pub(crate) const READING: &str = "Reading the board…";

// The board.
pub(crate) const TABLE: &str = "Odds by event and bookmaker";
pub(crate) const OUTCOME: &str = "Outcome";
pub(crate) const BEST: &str = "Best";
pub(crate) const PINNED: &str = "Pinned";
pub(crate) const STARTED: &str = "Started";
pub(crate) const HAS_STARTED: &str = "started";
pub(crate) const HAS_ENDED: &str = "ended";
pub(crate) const NOBODY: &str = "Nobody offers this market.";
pub(crate) const ABOUT_MARGINS: &str = "At the best price of each outcome, before any commission";
pub(crate) const TODAY: &str = "Today";
pub(crate) const TOMORROW: &str = "Tomorrow";
pub(crate) const YESTERDAY: &str = "Yesterday";

// An event.
pub(crate) const EVENT: &str = "Event";
pub(crate) const NO_VIEW: &str = "There is no such view for this account.";
pub(crate) const BOOKMAKER: &str = "Bookmaker";
pub(crate) const SEEN: &str = "Seen";
pub(crate) const BACK: &str = "Back";
pub(crate) const LAY: &str = "Lay";
pub(crate) const OTHER_LINES: &str = "Other lines";
pub(crate) const EVENT_GONE: &str = "This event is over, or none of your regions has it.";

// Signing in.
pub(crate) const REGISTER: &str = "Make an account";
pub(crate) const SIGN_IN: &str = "Sign in";
pub(crate) const PASSWORD_HINT: &str = "At least 12 characters; three or four words are fine.";
pub(crate) const PASSWORD: &str = "Password";
pub(crate) const NAME_OR_EMAIL: &str = "Name or e-mail";
pub(crate) const LEAD: &str = "Live odds of every bookmaker of four regions.";
pub(crate) const WELCOME: [&str; 3] = [
    "Every price as it changes, with the best of each row marked.",
    "One event opens beside the board with all of its markets and lines.",
    "What isn't live is crossed out: nothing old looks current.",
];
pub(crate) const SAMPLE: &str = "An example of the board: prices of four bookmakers, some of which rise and fall";
pub(crate) const SAMPLE_ROWS: [(&str, [&str; 4]); 3] = [
    ("Harwick Rovers", ["2.10", "2.05", "2.16", "2.08"]),
    ("Draw", ["3.40", "3.55", "3.45", "3.50"]),
    ("Port Elsing", ["3.30", "3.25", "3.20", "3.42"]),
];
pub(crate) const SIGN_IN_INSTEAD: &str = "Sign in instead";
pub(crate) const REGISTER_INSTEAD: &str = "Make an account instead";

// Settings.
pub(crate) const SIGNED_IN_AS: &str = "Signed in as";
pub(crate) const TOKEN_NAME: &str = "Name of the token";
pub(crate) const YOUR_PASSWORD: &str = "Your password";
pub(crate) const MAKE_TOKEN: &str = "Make a token";
pub(crate) const COPY_TOKEN: &str = "Copy it now; it is shown this once:";
pub(crate) const TOKENS: &str = "Tokens for programs";
pub(crate) const ABOUT_TOKENS: &str =
    "A program signs in with a token instead of your password. It can't change your account.";
pub(crate) const REVOKE: &str = "Revoke";
pub(crate) const CURRENT_PASSWORD: &str = "Current password";
pub(crate) const NEW_PASSWORD: &str = "New password";
pub(crate) const CHANGE_PASSWORD: &str = "Change the password";
pub(crate) const PASSWORD_CHANGED: &str = "The password is changed. Everywhere else you are signed out.";
pub(crate) const SIGNED_OUT_EVERYWHERE: &str = "You are signed out everywhere.";
pub(crate) const DELETE_PASSWORD: &str = "Password, to delete the account with all that belongs to it";
pub(crate) const DELETE_ACCOUNT: &str = "Delete my account";
pub(crate) const ACCOUNT_DELETED: &str = "Your account is deleted.";
pub(crate) const SESSIONS: &str = "Sessions and account";
pub(crate) const SIGN_OUT_EVERYWHERE: &str = "Sign out everywhere";

/// What to order events by: keys and names.
pub(crate) const SORTS: [(&str, &str); 4] =
    [("league", "By league"), ("start", "By start"), ("margin", "By margin"), ("movement", "By movement")];
pub(crate) const DENSITIES: [(&str, &str); 2] = [("compact", "Compact"), ("comfortable", "Comfortable")];
pub(crate) const THEMES: [(&str, &str); 3] = [("system", "System's theme"), ("light", "Light"), ("dark", "Dark")];

// Movers and opportunities.
pub(crate) const MOVERS: &str = "Movers";
pub(crate) const OPPORTUNITIES: &str = "Opportunities";
/// What is compared with now: minutes, or the opening.
pub(crate) const SINCE: [(&str, &str); 3] = [("5", "In 5 minutes"), ("60", "In an hour"), ("opening", "Since opening")];
pub(crate) const ABOUT_MOVERS: &str = "By what the bookmakers together think of each outcome, without their margins.";
pub(crate) const NOTHING_MOVED: &str = "Nothing has moved.";
pub(crate) const MOVER_COLUMNS: [&str; 4] = ["Change", "Probability", "Best price", "Bookmakers"];
pub(crate) const OPPORTUNITY_KINDS: [(&str, &str); 2] = [("arbitrages", "Arbitrage"), ("values", "Value")];
/// The numbers that can be asked for: their names, their labels, and what they are at first.
pub(crate) const OPPORTUNITY_FIELDS: [(&str, &str, &str); 4] = [
    ("total", "Total stake", "100"),
    ("round_to", "Round stakes to", "1"),
    ("commission", "Commission of exchanges, %", "2"),
    ("min_edge", "Least edge, %", "1"),
];
pub(crate) const ONLY_MINE: &str = "Only my bookmakers";
pub(crate) const CONSENSUS: &str = "All bookmakers together";
pub(crate) const COMPARED_WITH: &str = "Compared with";
pub(crate) const NO_ARBITRAGES: &str = "There is no arbitrage at the live prices.";
pub(crate) const NO_VALUE: &str = "No live price has so great an edge.";
pub(crate) const LEG_COLUMNS: [&str; 5] = ["Outcome", "Bookmaker", "Price", "Stake", "Age"];
pub(crate) const VALUE_COLUMNS: [&str; 6] = ["Bookmaker", "Price", "Probability", "Edge", "Kelly", "Age"];
pub(crate) const ABOUT_OPPORTUNITIES: &str = "Prices are a few seconds old when you see them, and may be gone before all \
    bets are placed. Bookmakers limit stakes, and may void a bet at a price that was a mistake.";

pub(crate) fn compared_with(time: &str) -> String {
    format!("Compared with {time}.")
}

pub(crate) fn some_of(some: usize, all: usize) -> String {
    format!("{some} of {all}")
}

pub(crate) fn stake_and_win(rate: &str, total: &str, win: &str) -> String {
    format!("{rate}: stake {total}, win at least {win}")
}

/// How long ago a price was last seen, and how long it has not changed, in seconds.
pub(crate) fn seen_and_unchanged(seen: i64, unchanged: i64) -> String {
    format!("seen {} ago, unchanged for {}", span(seen), span(unchanged))
}

fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..100 => format!("{seconds}\u{a0}s"),
        seconds @ 100..6_000 => format!("{}\u{a0}min", seconds / 60),
        seconds => format!("{}\u{a0}h", seconds / 3_600),
    }
}

/// The keys and what they do.
pub(crate) const KEYS: [(&str, &str); 9] = [
    ("j ↓", "Next event or outcome"),
    ("k ↑", "Previous event or outcome"),
    ("Enter", "Open the event"),
    ("p", "Pin the event, or unpin it"),
    ("a", "Set an alert for the outcome"),
    ("/", "Search"),
    ("Esc", "Close what is open"),
    ("← →", "Scroll the bookmakers"),
    ("?", "Show these shortcuts"),
];

pub(crate) fn simulated_speed(times: &str) -> String {
    format!("Their time runs {times} times as fast.")
}

pub(crate) fn not_connected(reason: &str) -> String {
    format!("Not connected: {reason}")
}

pub(crate) fn last_seen(time: &str) -> String {
    format!(" Last seen {time}.")
}

pub(crate) fn kept(time: &str) -> String {
    format!("The board as it was: {time}. None of its prices are live.")
}

pub(crate) fn refused(reason: &str) -> String {
    format!("What is chosen is refused: {reason}")
}

pub(crate) fn regions_kept(reason: &str) -> String {
    format!("The regions stay as they were. {reason}")
}

pub(crate) fn new_events(count: usize) -> String {
    if count == 1 { "1 new event".to_owned() } else { format!("{count} new events") }
}

pub(crate) fn pin(title: &str) -> String {
    format!("Pin {title}")
}

/// A negative margin is what an arbitrage wins.
pub(crate) fn margin(is_arbitrage: bool, percent: &str) -> String {
    if is_arbitrage {
        format!("arbitrage {}", percent.trim_start_matches(['-', '\u{2212}']))
    } else {
        format!("margin {percent}")
    }
}

pub(crate) fn times_in(zone: &str) -> String {
    format!("Times in {zone}")
}

/// What a price's tooltip says, before its time.
pub(crate) fn about_price(is_offered: bool, is_old: bool, was_offered: bool) -> &'static str {
    match (is_offered, is_old, was_offered) {
        (true, false, _) => "this price since ",
        (true, true, _) => "old, last seen ",
        (false, _, true) => "not offered since ",
        (false, _, false) => "not offered",
    }
}

/// The section with the chart. The chart has its own texts, in `web/assets/chart.js`, because it is loaded later.
pub(crate) const CHART: &str = "Prices over time";

pub(crate) fn recorded(changes: u64, first_seen: &str) -> String {
    let times = if changes == 1 { "once".to_owned() } else { format!("{changes} times") };
    format!("Prices changed {times} · First seen: {first_seen}")
}

pub(crate) fn mine(name: &str) -> String {
    format!("{name} first")
}

pub(crate) fn earlier(name: &str) -> String {
    format!("Move {name} to the left")
}

pub(crate) fn hide(name: &str) -> String {
    format!("Hide {name}")
}

pub(crate) fn about_token(made: &str, used: Option<String>) -> String {
    let used = used.map_or("never used".to_owned(), |at| format!("last used {at}"));
    format!("made {made}, {used}")
}

pub(crate) fn revoke(name: &str) -> String {
    format!("Revoke {name}")
}

pub(crate) fn when(when: When) -> &'static str {
    match when {
        When::Any => "Any time",
        When::Started => "Started",
        When::Today => "Today",
        When::Tomorrow => "Tomorrow",
    }
}

pub(crate) fn format(format: OddsFormat) -> &'static str {
    match format {
        OddsFormat::Decimal => "Decimal",
        OddsFormat::American => "American",
        OddsFormat::Fractional => "Fractional",
    }
}

/// A market's name, if it is one of those that are known.
pub(crate) fn market(key: &str) -> Option<&'static str> {
    Some(match key {
        "h2h" => "Winner",
        "h2h_lay" => "Winner, lay",
        "spreads" => "Handicap",
        "totals" => "Total",
        "outrights" => "Outright",
        "outrights_lay" => "Outright, lay",
        _ => return None,
    })
}

pub(crate) fn too_many_attempts(seconds: &str) -> String {
    format!("Too many attempts. Try again in {seconds} s.")
}

// Alerts.
pub(crate) const ALERTS: &str = "Alerts";
pub(crate) const SET_ALERT: &str = "Set the alert";
pub(crate) const OR_BETTER: &str = "This price or better";
pub(crate) const NO_PRICE: &str = "expected a price such as 2.10, +110 or 11/10";
pub(crate) const FROM_WHOM: &str = "From which bookmakers";
pub(crate) const MINE_ONLY: &str = "Only mine";
pub(crate) const RULES_OF_OUTCOME: &str = "Your alerts for it";
pub(crate) const DELETE: &str = "Delete";
pub(crate) const WHAT_HAPPENED: &str = "What happened";
pub(crate) const MARK_READ: &str = "Mark all as read";
pub(crate) const NEW: &str = "new";
pub(crate) const MISSED: &str = "missed: it no longer held when it was found";
pub(crate) fn unwatched(region: &str, from: &str, until: &str) -> String {
    format!("{region} was not watched from {from} to {until}: alerts of that time may be missing.")
}
pub(crate) const NO_ALERTS: &str = "Nothing yet.";
pub(crate) const NO_SUCH_ALERTS: &str = "None of your alerts are like this.";
pub(crate) const SHOW_OLDER: &str = "Show older ones";
pub(crate) const RULES: &str = "What you wait for";
pub(crate) const NO_RULES: &str =
    "Nothing yet. Open an event and press the bell of an outcome, or press a on an outcome of the board.";
pub(crate) const SHOW: &str = "Show";
pub(crate) const KIND: &str = "Kind";
pub(crate) const WAITING: &str = "waiting";
pub(crate) const ONCE: &str = "once";
pub(crate) const ANY_OUTCOME: &str = "Any outcome";
pub(crate) const NOTIFICATIONS: &str = "Notifications";
pub(crate) const ALLOW_NOTIFICATIONS: &str = "Show notifications";
pub(crate) const ABOUT_NOTIFICATIONS: &str = "Your browser can show an alert while this page is in the background.";
pub(crate) const NOTIFICATIONS_ALLOWED: &str =
    "Your browser shows alerts that come while this page is in the background.";
pub(crate) const NOTIFICATIONS_DENIED: &str =
    "Your browser doesn't let this page show notifications. You can change that in its settings for this page.";

/// Which alerts are shown: keys and names.
pub(crate) const ALERT_FILTERS: [(&str, &str); 3] = [("all", "All"), ("unread", "Unread"), ("missed", "Missed")];
/// The kinds of rules, as far as the page filters by them. The first is all.
pub(crate) const RULE_KINDS: [(&str, &str); 7] = [
    ("any", "Any kind"),
    ("price", "Prices"),
    ("move", "Movements"),
    ("line", "Lines"),
    ("arbitrage", "Arbitrages"),
    ("starts", "Starts"),
    ("feed", "Feeds"),
];

/// The name of the bell.
pub(crate) fn alerts(unread: usize) -> String {
    if unread == 0 { ALERTS.to_owned() } else { format!("{ALERTS}, {unread} unread") }
}

pub(crate) fn bell(outcome: &str) -> String {
    format!("Set an alert for {outcome}")
}

pub(crate) fn tell_me(outcome: &str) -> String {
    format!("Tell me when {outcome} is at")
}

pub(crate) fn now_at(price: &str, bookmaker: &str) -> String {
    format!("now {price} at {bookmaker}")
}

pub(crate) fn alert_is_set(outcome: &str, price: &str) -> String {
    format!("The alert is set: {outcome} at {price} or better.")
}

pub(crate) fn delete_rule(rule: &str) -> String {
    format!("Delete the alert {rule}")
}

pub(crate) fn price_reached(outcome: &str, price: &str, bookmaker: &str, region: &str) -> String {
    format!("{outcome} reached {price} at {bookmaker} ({region})")
}

pub(crate) fn has_moved(outcome: &str, from: &str, to: &str) -> String {
    format!("{outcome} moved from {from} % to {to} % by the consensus of the bookmakers")
}

pub(crate) fn line_moved(market: &str, from: &str, to: &str) -> String {
    format!("{market}: the main line moved from {from} to {to}")
}

pub(crate) fn arbitrage_found(market: &str, percent: &str) -> String {
    format!("{market}: the best prices win {percent} %")
}

pub(crate) fn starts_in(minutes: &str) -> String {
    format!("It starts within {minutes} minutes")
}

pub(crate) fn feed_is_out(region: &str, minutes: &str) -> String {
    format!("{region} has had no live prices for {minutes} minutes")
}

pub(crate) fn and_asked(what: &str, limit: &str) -> String {
    format!("{what}: you asked for {limit}")
}

pub(crate) fn or_better(price: &str) -> String {
    format!("{price} or better")
}

pub(crate) fn or_lower(price: &str) -> String {
    format!("{price} or lower")
}

pub(crate) fn move_of(points: &str, minutes: u32) -> String {
    format!("a movement of {points} points within {minutes} minutes")
}

pub(crate) fn line_move_of(by: &str) -> String {
    format!("the main line moves by {by}")
}

pub(crate) fn arbitrage_of(percent: &str) -> String {
    format!("the best prices win {percent} % or more")
}

pub(crate) fn minutes_before(minutes: u32) -> String {
    format!("{minutes} minutes before the start")
}

pub(crate) fn minutes_out(minutes: u32) -> String {
    format!("no live prices for {minutes} minutes")
}

pub(crate) fn only_bookmakers(count: usize) -> String {
    if count == 1 { "1 bookmaker".to_owned() } else { format!("{count} bookmakers") }
}

pub(crate) fn again_after(minutes: u32) -> String {
    format!("again after {minutes} minutes")
}

/// Why a rule ended, or that it waits.
pub(crate) fn rule_state(ended: Option<&str>) -> &'static str {
    match ended {
        None => WAITING,
        Some("fired") => "ended: it has happened",
        Some("event_over") => "ended: the event is over",
        Some(_) => "ended: its time is over",
    }
}

// Messages.
pub(crate) const MESSAGES: &str = "E-mail and SMS";
pub(crate) const ABOUT_MESSAGES: &str =
    "Alerts can reach you while you aren't watching, and a forgotten password can be replaced by e-mail.";
pub(crate) const EMAIL_ADDRESS: &str = "E-mail address (empty to remove it)";
pub(crate) const PHONE_NUMBER: &str = "Phone number, such as +447700900123 (empty to remove it)";
pub(crate) const SAVE_EMAIL: &str = "Save the e-mail address";
pub(crate) const SAVE_PHONE: &str = "Save the phone number";
pub(crate) const LINK_SENT: &str = "A link was sent there. Open it to confirm the address.";
pub(crate) const CODE_SENT: &str = "A code was sent there. Enter it to confirm the number.";
pub(crate) const ADDRESS_REMOVED: &str = "It is removed.";
pub(crate) const CODE: &str = "The six digits of the SMS";
pub(crate) const CONFIRM_NUMBER: &str = "Confirm the number";
pub(crate) const CONFIRMED: &str = "confirmed";
pub(crate) const NOT_CONFIRMED: &str = "not confirmed yet";
pub(crate) const SEND_TEST: &str = "Send a test";
pub(crate) const SEND_CONFIRMATION: &str = "Send it again";
pub(crate) const SEND_ALERTS: &str = "Alerts";
pub(crate) const WILL_BE_SENT: &str = "It will be sent.";
pub(crate) const QUIET_HOURS: &str = "Quiet hours";
pub(crate) const ABOUT_QUIET_HOURS: &str = "In these hours, no alerts are sent. Leave both empty for none.";
pub(crate) const QUIET_FROM: &str = "From, such as 22:00";
pub(crate) const QUIET_UNTIL: &str = "Until, such as 07:00";
pub(crate) const SAVE_QUIET_HOURS: &str = "Save the quiet hours";
pub(crate) const SAVED: &str = "Saved.";
pub(crate) const SENT_MESSAGES: &str = "Sent messages";
pub(crate) const NO_MESSAGES: &str = "None yet.";
pub(crate) const ALSO_BY: &str = "Also by";
pub(crate) const BY_EMAIL: &str = "E-mail";
pub(crate) const BY_SMS: &str = "SMS";
pub(crate) const FORGOT_PASSWORD: &str = "Forgot your password?";
pub(crate) const NAME_FIRST: &str = "Enter your name or e-mail address first.";
pub(crate) const FORGOTTEN: &str = "If this account has a confirmed e-mail address, a link was sent there.";

pub(crate) fn quiet_now(from: &str, until: &str, zone: &str) -> String {
    format!("No alerts are sent from {from} to {until} ({zone}). Leave both empty for none.")
}

pub(crate) fn message_kind(kind: &str) -> &'static str {
    match kind {
        "transaction" => "Transaction",
        "alert" => "Alert",
        "confirm_email" | "confirm_phone" => "Confirmation",
        "forgot_password" => "Another password",
        "account_changed" => "Change of the account",
        "test" => "Test",
        _ => "Message",
    }
}

pub(crate) fn message_state(state: &str) -> &'static str {
    match state {
        "waiting" | "sending" => "waiting",
        "sent" => "sent",
        "delivered" => "delivered",
        "failed" => "failed",
        "expired" => "given up",
        "skipped" => "not sent",
        _ => "unknown whether it was sent",
    }
}

pub(crate) fn message_went(recipient: &str, state: &str, when: &str) -> String {
    if recipient.is_empty() { format!("{state}, {when}") } else { format!("{state}, {recipient}, {when}") }
}
