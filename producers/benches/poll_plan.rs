//! What a day of twelve sports costs by the plan, beside polling everything as fast as upstream
//! moves, and how fresh games in play are with either.
#![expect(clippy::unwrap_used, reason = "the months are shared with the tests")]

#[path = "../tests/it/months.rs"]
mod months;

fn main() {
    let fixtures: Vec<_> = (0..12).map(months::sport).collect();
    // A key with credits to spare: what the plan leaves out, it leaves out by choice.
    let planned = months::play(&fixtures, 15_000_000.0, 1, 3.0, months::month_begins(), 1);
    let day = 24 * 60 * 60 * 1000;
    // Upstream: every 60 s, every 40 s in play.
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
