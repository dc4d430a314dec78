//! Times and numbers as the visitor's browser writes them, in the visitor's time zone.

use js_sys::{Array, Date, Function, Intl::DateTimeFormat, Object, Reflect};
use odds::Timestamp;
use wasm_bindgen::JsValue;

use crate::{text, view::day_of};

thread_local! {
    // Making a formatter is slow, so each is made once.
    static CLOCK: Function = formatter(&[("hour", "2-digit"), ("minute", "2-digit")]);
    static SECONDS: Function = formatter(&[("hour", "2-digit"), ("minute", "2-digit"), ("second", "2-digit")]);
    static DAY: Function = formatter(&[("weekday", "short"), ("day", "numeric"), ("month", "short")]);
    static ZONE: Function = formatter(&[("timeZoneName", "short")]);
}

fn formatter(options: &[(&str, &str)]) -> Function {
    let object = Object::new();
    for (name, value) in options {
        let _ = Reflect::set(&object, &(*name).into(), &(*value).into());
    }
    DateTimeFormat::new(&Array::new(), &object).format()
}

/// Formats a time, so that no line breaks in it.
fn formatted(format: &Function, moment: Timestamp) -> String {
    let text = format.call1(&JsValue::UNDEFINED, &millis(moment).into());
    text.ok().and_then(|text| text.as_string()).unwrap_or_default().replace(' ', "\u{a0}")
}

fn millis(moment: Timestamp) -> f64 {
    moment.millis_since(Timestamp::from_millis(0)) as f64
}

/// Returns the time by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(Date::now() as i64)
}

/// Returns by how many minutes the visitor's time zone is ahead of UTC at that time.
pub(crate) fn minutes_ahead(moment: Timestamp) -> i64 {
    -Date::new(&millis(moment).into()).get_timezone_offset() as i64
}

/// Returns the name of the visitor's time zone, as `Europe/London`.
pub(crate) fn zone_name() -> String {
    let options = DateTimeFormat::new(&Array::new(), &Object::new()).resolved_options();
    let name = Reflect::get(&options, &"timeZone".into()).ok().and_then(|name| name.as_string());
    name.unwrap_or_else(|| "UTC".into())
}

/// Formats a time like 15:00.
pub(crate) fn clock(moment: Timestamp) -> String {
    CLOCK.with(|format| formatted(format, moment))
}

/// Formats a time like 15:00:07.
pub(crate) fn clock_to_the_second(moment: Timestamp) -> String {
    SECONDS.with(|format| formatted(format, moment))
}

/// Formats a day: today, tomorrow, yesterday, or the date.
pub(crate) fn day(moment: Timestamp, now: Timestamp) -> String {
    let of = |moment| day_of(moment, minutes_ahead(moment));
    match of(moment) - of(now) {
        0 => text::TODAY.into(),
        1 => text::TOMORROW.into(),
        -1 => text::YESTERDAY.into(),
        _ => DAY.with(|format| formatted(format, moment)),
    }
}

/// Formats a day and a time.
pub(crate) fn day_and_clock(moment: Timestamp, now: Timestamp) -> String {
    format!("{}\u{a0}{}", day(moment, now), clock(moment))
}

/// Names the visitor's time zone at that time, like GMT+1. A formatter writes it after the date.
pub(crate) fn zone(moment: Timestamp) -> String {
    let text = ZONE.with(|format| formatted(format, moment));
    text.rsplit('\u{a0}').next().unwrap_or_default().to_owned()
}

/// Returns what separates the decimals of numbers where the visitor lives.
pub(crate) fn decimal_point() -> char {
    let text: String = js_sys::Number::from(1.5).to_locale_string("default").into();
    text.chars().find(|letter| !letter.is_ascii_digit()).unwrap_or('.')
}
