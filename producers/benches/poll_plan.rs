//! Compares the poll plan with polling everything at upstream's update interval: what a day of twelve sports costs, and
//! how often games in play are polled.
#![expect(clippy::unwrap_used, reason = "the simulated month is shared with the tests")]

#[path = "../tests/it/months.rs"]
mod months;

fn main() {
    let fixtures: Vec<_> = (0..12).map(months::sport).collect();
    // More credits than needed, so that only the ideal intervals limit the polls.
    let planned = months::play(&fixtures, 15_000_000.0, 1, 3.0, months::month_begins(), 1);
    let day = 24 * 60 * 60 * 1000;
    // Upstream updates every 60 s, and every 40 s in play.
    let idle = 12 * day - planned.play_time;
    let everything = (idle / 60_000 + planned.play_time / 40_000) as f64 * 3.0;
    let fresh = planned.play_time as f64 / 1000.0 / planned.polls_in_play as f64;
    println!(
        "a day of 12 sports, 3 markets: {:.0} credits by the plan, {everything:.0} at upstream's pace",
        planned.spent
    );
    println!("share: {:.1} %", 100.0 * planned.spent / everything);
    println!("games in play: a poll every {fresh:.1} s by the plan, every 40.0 s at upstream's pace");
}
