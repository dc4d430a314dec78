//! The last boards, kept in the browser: what a page shows that opens without a network.

use leptos::{lazy, prelude::*};
use odds::{Feed, Region, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    api::{Me, json},
    browser,
    stream::Stream,
    time,
};

/// A region's board, as it was at a time by this machine's clock.
#[derive(Deserialize)]
pub(crate) struct Kept {
    pub(crate) at: Timestamp,
    pub(crate) feed: Feed,
    pub(crate) snapshot: Box<RawValue>,
}

fn name_of(region: Region) -> String {
    format!("toteboard-board-{region}")
}

/// Keeps the boards if they are live. One that the browser has no room for is not kept.
#[lazy]
pub(crate) fn keep(stream: Stream) {
    if stream.is_over() || stream.cut_off.get_untracked() {
        return;
    }
    let regions = stream.regions.get_untracked();
    if let Some(me) = me() {
        browser::keep(browser::ME, &json(&Me { regions: regions.clone(), ..me }));
    }
    for region in regions {
        let text = stream.board_to_keep(region).map(|(feed, snapshot)| {
            format!(r#"{{"at":{},"feed":{},"snapshot":{snapshot}}}"#, json(&time::now()), json(&feed))
        });
        browser::keep(&name_of(region), &text.unwrap_or_default());
    }
}

/// Returns a region's board, if one is kept.
#[lazy]
pub(crate) fn recall(region: Region) -> Option<Kept> {
    serde_json::from_str(&browser::kept(&name_of(region))?).ok()
}

/// Who was signed in last.
pub(crate) fn me() -> Option<Me> {
    serde_json::from_str(&browser::kept(browser::ME)?).ok()
}

/// Forgets all boards: nobody is signed in.
pub(crate) fn forget() {
    browser::keep(browser::ME, "");
    Region::ALL.into_iter().for_each(|region| browser::keep(&name_of(region), ""));
}
