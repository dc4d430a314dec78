//! The results of a race: a table of ratios with their spread and goals, and a chart.

use std::{fmt::Write, path::Path};

use anyhow::Context;

/// One round's comparison of a figure with that of another server, or with a limit.
#[derive(Clone, Debug)]
pub struct Finding {
    pub what: String,
    pub unit: &'static str,
    pub ours: f64,
    /// The name of the other server, or of the limit.
    pub beside: String,
    pub theirs: f64,
    pub ratio: f64,
    pub goal: Goal,
}

/// The goal for a ratio.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// For information only.
    None,
}

/// One row of the table: the same finding from all rounds.
#[derive(Clone, Debug)]
struct Row {
    what: String,
    unit: &'static str,
    beside: String,
    goal: Goal,
    ours: Vec<f64>,
    theirs: Vec<f64>,
    ratios: Vec<f64>,
}

/// One bar chart of the picture.
#[derive(Clone, Debug)]
struct Panel {
    title: &'static str,
    /// Each bar's name and its value in every round.
    bars: Vec<(String, Vec<f64>)>,
}

/// The results of all rounds.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    panels: Vec<Panel>,
}

impl Row {
    /// Returns whether the median of the ratios meets the goal. A ratio that could not be measured does not.
    fn is_met(&self) -> bool {
        let ratio = median(&self.ratios);
        match self.goal {
            Goal::AtLeast(least) => ratio >= least,
            Goal::AtMost(most) => ratio <= most,
            Goal::None => true,
        }
    }
}

impl Table {
    pub fn add(&mut self, finding: Finding) {
        let Finding { what, unit, ours, beside, theirs, ratio, goal } = finding;
        let known = self.rows.iter().position(|row| row.what == what && row.beside == beside);
        let at = known.unwrap_or(self.rows.len());
        if known.is_none() {
            let none = Vec::new;
            self.rows.push(Row { what, unit, beside, goal, ours: none(), theirs: none(), ratios: none() });
        }
        let row = &mut self.rows[at];
        row.ours.push(ours);
        row.theirs.push(theirs);
        row.ratios.push(ratio);
    }

    /// Adds a figure that may be at most this.
    pub fn at_most(&mut self, what: &str, unit: &'static str, ours: f64, most: f64) {
        let (what, beside, ratio) = (what.to_owned(), "limit".to_owned(), ours / most);
        self.add(Finding { what, unit, ours, beside, theirs: most, ratio, goal: Goal::AtMost(1.0) });
    }

    /// Adds a figure that must be at least this.
    pub fn at_least(&mut self, what: &str, ours: f64, least: f64) {
        let (what, beside, ratio) = (what.to_owned(), "goal".to_owned(), ours / least);
        self.add(Finding { what, unit: "", ours, beside, theirs: least, ratio, goal: Goal::AtLeast(1.0) });
    }

    pub fn draw(&mut self, title: &'static str, bars: Vec<(String, f64)>) {
        if let Some(panel) = self.panels.iter_mut().find(|panel| panel.title == title) {
            for (name, value) in bars {
                panel.bars.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, values)| values.push(value));
            }
            return;
        }
        let bars = bars.into_iter().map(|(name, value)| (name, vec![value])).collect();
        self.panels.push(Panel { title, bars });
    }

    /// Returns a description of each missed goal.
    pub fn missed(&self) -> Vec<String> {
        let missed = self.rows.iter().filter(|row| !row.is_met());
        missed.map(|row| format!("{}, beside {}: {:.2}", row.what, row.beside, median(&row.ratios))).collect()
    }

    pub fn markdown(&self) -> String {
        let mut text = String::from("| what | Toteboard | beside | ratio | goal |\n|---|---|---|---|---|\n");
        for row in &self.rows {
            let Row { what, unit, beside, ours, theirs, ratios, .. } = row;
            let goal = match row.goal {
                Goal::AtLeast(least) => format!("at least {least}"),
                Goal::AtMost(most) => format!("at most {most}"),
                Goal::None => String::new(),
            };
            let missed = if row.is_met() { "" } else { ", missed" };
            let (ours, theirs) = (shown(median(ours)), shown(median(theirs)));
            let spread = ratios
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), ratio| (least.min(*ratio), most.max(*ratio)));
            let ratio = format!("{:.2} ({:.2} to {:.2})", median(ratios), spread.0, spread.1);
            writeln!(text, "| {what} | {ours}{unit} | {beside}: {theirs}{unit} | {ratio} | {goal}{missed} |")
                .expect("a string");
        }
        text
    }

    /// Draws the bar charts, each with its own scale.
    pub fn svg(&self) -> String {
        const WIDTH: f64 = 720.0;
        const NAME: f64 = 130.0;
        const ROW: f64 = 24.0;
        let mut body = String::new();
        let mut y = 10.0;
        for Panel { title, bars } in &self.panels {
            y += 18.0;
            write!(body, r#"<text x="10" y="{y}" font-weight="bold">{title}</text>"#).expect("a string");
            y += 10.0;
            let bars: Vec<(&String, f64)> = bars.iter().map(|(name, values)| (name, median(values))).collect();
            let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
            for (name, value) in bars {
                let length = (value / most * (WIDTH - NAME - 90.0)).max(1.0);
                let (base, after) = (y + 15.0, NAME + length + 6.0);
                let fill = if name.starts_with("Toteboard") { "#1f7a5c" } else { "#9aa4ad" };
                write!(
                    body,
                    r#"<text x="{end}" y="{base}" text-anchor="end">{name}</text><rect x="{NAME}" y="{y}" width="{length:.1}" height="18" fill="{fill}"/><text x="{after:.1}" y="{base}">{value:.1}</text>"#,
                    end = NAME - 8.0,
                )
                .expect("a string");
                y += ROW;
            }
            y += 12.0;
        }
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="system-ui, sans-serif" font-size="13" fill="#24292f"><rect width="{WIDTH}" height="{y}" fill="#fff"/>{body}</svg>
"##
        )
    }

    /// Writes table.md, which starts with the method (`how`), and chart.svg.
    pub fn write(&self, folder: &Path, how: &str) -> anyhow::Result<()> {
        std::fs::write(folder.join("table.md"), format!("{how}\n\n{}", self.markdown())).context("table.md")?;
        std::fs::write(folder.join("chart.svg"), self.svg()).context("chart.svg")
    }
}

/// Returns the median; for an even number of values, the lower of the two middle ones.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get((sorted.len().max(1) - 1) / 2).copied().unwrap_or(f64::NAN)
}

fn shown(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(what: &str, ratio: f64, goal: Goal) -> Finding {
        let (what, beside) = (what.to_owned(), "node".to_owned());
        Finding { what, unit: " s", ours: 2.0 * ratio, beside, theirs: 2.0, ratio, goal }
    }

    #[test]
    fn a_goal_that_is_missed_says_so() {
        let mut table = Table::default();
        table.add(finding("a frame", 2.0, Goal::AtMost(1.5)));
        table.add(finding("a crowd", 2.0, Goal::AtLeast(1.5)));
        table.add(finding("a board", 2.0, Goal::None));
        assert_eq!(table.missed(), ["a frame, beside node: 2.00"]);
        let lines: Vec<String> = table.markdown().lines().map(str::to_owned).collect();
        assert_eq!(lines[2], "| a frame | 4 s | node: 2 s | 2.00 (2.00 to 2.00) | at most 1.5, missed |");
        assert_eq!(lines[3], "| a crowd | 4 s | node: 2 s | 2.00 (2.00 to 2.00) | at least 1.5 |");
    }

    #[test]
    fn rounds_are_told_by_their_median_and_spread() {
        let mut table = Table::default();
        for ratio in [1.7, 1.2, 1.4] {
            table.add(finding("a frame", ratio, Goal::AtMost(1.5)));
        }
        assert!(table.missed().is_empty());
        let text = table.markdown();
        assert!(text.ends_with("| a frame | 2.80 s | node: 2 s | 1.40 (1.20 to 1.70) | at most 1.5 |\n"), "{text}");
        table.add(finding("a frame", f64::NAN, Goal::AtMost(1.5)));
        assert!(table.missed().is_empty(), "one of four");
        table.add(finding("nothing", f64::NAN, Goal::AtMost(1.5)));
        assert_eq!(table.missed().len(), 1, "what could not be measured is no success");
    }
}
