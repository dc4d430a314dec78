//! What a race came to: a table of ratios with their goals, and a picture.

use std::{fmt::Write, path::Path};

use anyhow::Context;

/// One figure beside another, or beside its limit.
#[derive(Clone, Debug)]
pub struct Finding {
    pub what: String,
    pub ours: String,
    pub beside: String,
    pub ratio: f64,
    pub goal: Goal,
}

#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Just to know.
    None,
}

/// Who took how much, for the picture.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: &'static str,
    pub bars: Vec<(String, f64)>,
}

#[derive(Clone, Debug, Default)]
pub struct Table {
    findings: Vec<Finding>,
    panels: Vec<Panel>,
}

impl Finding {
    fn is_met(&self) -> bool {
        match self.goal {
            Goal::AtLeast(least) => self.ratio >= least,
            Goal::AtMost(most) => self.ratio <= most,
            Goal::None => true,
        }
    }
}

impl Table {
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub fn draw(&mut self, title: &'static str, bars: Vec<(String, f64)>) {
        self.panels.push(Panel { title, bars });
    }

    /// How many goals were met, of how many.
    pub fn met(&self) -> (usize, usize) {
        let with_goal = || self.findings.iter().filter(|finding| !matches!(finding.goal, Goal::None));
        (with_goal().filter(|finding| finding.is_met()).count(), with_goal().count())
    }

    pub fn markdown(&self) -> String {
        let mut text = String::from("| what | Toteboard | beside | ratio | goal |\n|---|---|---|---|---|\n");
        for finding in &self.findings {
            let Finding { what, ours, beside, ratio, goal } = finding;
            let goal = match goal {
                Goal::AtLeast(least) => format!("at least {least}"),
                Goal::AtMost(most) => format!("at most {most}"),
                Goal::None => String::new(),
            };
            let missed = if finding.is_met() { "" } else { ", missed" };
            writeln!(text, "| {what} | {ours} | {beside} | {ratio:.2} | {goal}{missed} |").expect("a string");
        }
        text
    }

    /// Bars, those of each panel to its own scale.
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

    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::write(folder.join("table.md"), self.markdown()).context("table.md")?;
        std::fs::write(folder.join("chart.svg"), self.svg()).context("chart.svg")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_is_missed_says_so() {
        let finding =
            |ratio, goal| Finding { what: "a frame".into(), ours: "2 s".into(), beside: "1 s".into(), ratio, goal };
        let mut table = Table::default();
        table.add(finding(2.0, Goal::AtMost(1.5)));
        table.add(finding(2.0, Goal::AtLeast(1.5)));
        table.add(finding(2.0, Goal::None));
        assert_eq!(table.met(), (1, 2));
        let lines: Vec<String> = table.markdown().lines().map(str::to_owned).collect();
        assert_eq!(lines[2], "| a frame | 2 s | 1 s | 2.00 | at most 1.5, missed |");
        assert_eq!(lines[3], "| a frame | 2 s | 1 s | 2.00 | at least 1.5 |");
    }
}
