//! Measures one server with a crowd of clients over a period.

use std::time::Duration;

use super::{
    author::Times,
    cost::cpu_seconds,
    crowd::{Crowd, Report},
    server::Server,
};

/// The time before counting starts.
const WARM_UP: Duration = Duration::from_secs(4);

/// Raw measurements of a period, before the times at which the steps were handed to Kafka are known.
#[derive(Debug)]
pub struct Watched {
    clients: usize,
    seconds: f64,
    cpu: f64,
    crowd_cpu: f64,
    memory: f64,
    latest_tick: Option<f64>,
    report: Report,
}

/// Measures a server over a period, after a warm-up.
pub async fn watch(server: &Server, crowd: &mut Crowd, window: Duration) -> anyhow::Result<Watched> {
    tokio::time::sleep(WARM_UP).await;
    count(server, crowd, window).await
}

/// Measures a server over a period, without a warm-up.
pub async fn count(server: &Server, crowd: &mut Crowd, window: Duration) -> anyhow::Result<Watched> {
    crowd.begin().await?;
    let crowd_pid = crowd.pid()?;
    let (cpu, crowd_cpu) = (server.cpu_seconds()?, cpu_seconds(crowd_pid)?);
    let before = server.ticks().await?;
    tokio::time::sleep(window).await;
    let cpu = server.cpu_seconds()? - cpu;
    let crowd_cpu = cpu_seconds(crowd_pid)? - crowd_cpu;
    let report = crowd.take().await?;
    let clients = crowd.size.clients;
    let ticks = server.ticks().await?;
    let latest_tick = ticks.map(|ticks| ticks.latest_since(&before.unwrap_or_default()));
    Ok(Watched {
        clients,
        latest_tick,
        seconds: window.as_secs_f64(),
        cpu,
        crowd_cpu,
        memory: server.memory()?,
        report,
    })
}

impl Watched {
    /// Computes the results, given when each step was handed to Kafka and how many changes each step has.
    pub fn run(self, times: &Times, changes: usize) -> Run {
        let mut latencies = Vec::new();
        let mut steps = 0;
        for seen in &self.report.seen {
            for pair in seen.windows(2) {
                let ((before, _), (step, at)) = (pair[0], pair[1]);
                // A frame carries the changes of every step since the previous frame.
                let news = (before + 1..=step).filter_map(|step| times.of(step));
                latencies.extend(news.map(|handed| at.saturating_sub(handed)));
            }
            if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
                steps += last.0.saturating_sub(first.0);
            }
        }
        latencies.sort_unstable();
        let each = steps as f64 * changes as f64 / self.report.seen.len().max(1) as f64;
        Run {
            seconds: self.seconds,
            cpu: self.cpu,
            crowd_cpu: self.crowd_cpu,
            frames: self.report.frames as f64,
            bytes: self.report.bytes as f64,
            updates: each * self.clients as f64,
            latencies,
            memory: self.memory,
            latest_tick: self.latest_tick,
            lost: self.report.lost,
        }
    }
}

/// The results for one server, from one or several periods.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub seconds: f64,
    pub cpu: f64,
    pub crowd_cpu: f64,
    pub frames: f64,
    pub bytes: f64,
    /// Changed odds, multiplied by the number of clients that received them.
    pub updates: f64,
    /// From Kafka to the watching clients, in microseconds, sorted.
    pub latencies: Vec<u64>,
    /// Bytes of memory in total, at the end of the period.
    pub memory: f64,
    /// The latest tick's delay in milliseconds, for a server that counts its ticks.
    pub latest_tick: Option<f64>,
    pub lost: usize,
}

impl Run {
    pub fn add(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.cpu += other.cpu;
        self.crowd_cpu += other.crowd_cpu;
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.updates += other.updates;
        self.latencies.extend(other.latencies);
        self.latencies.sort_unstable();
        self.memory = self.memory.max(other.memory);
        self.latest_tick = self.latest_tick.into_iter().chain(other.latest_tick).reduce(f64::max);
        self.lost += other.lost;
    }

    /// Returns the updates delivered per CPU second of the server.
    pub fn per_cpu_second(&self) -> f64 {
        self.updates / self.cpu
    }

    /// Returns the server's CPU seconds for a million frames.
    pub fn per_million_frames(&self) -> f64 {
        self.cpu / self.frames * 1e6
    }

    /// Returns the server's CPU seconds for a million frames, without the share of a core (`alone`) that it uses even
    /// without clients.
    pub fn per_million_frames_beyond(&self, alone: f64) -> f64 {
        (self.cpu - alone * self.seconds) / self.frames * 1e6
    }

    pub fn megabytes(&self) -> f64 {
        self.memory / 1024.0 / 1024.0
    }

    /// Returns a quantile of the latencies, in milliseconds.
    pub fn latency(&self, part: f64) -> f64 {
        quantile(&self.latencies, part)
    }

    pub fn shown(&self) -> String {
        let lost = if self.lost > 0 { format!(", {} LOST", self.lost) } else { String::new() };
        let late = self.latest_tick.map(|late| format!(", ticks at most {late:.0} ms late")).unwrap_or_default();
        format!(
            "{:.0} updates a CPU second, {:.1} CPU s a million frames of {:.0} bytes, {:.0} bytes an update; \
             p50 {:.0} ms, p99 {:.0}, longest {:.0}{late}; {:.0} MB; {:.2} cores and {:.2} of the clients{lost}",
            self.per_cpu_second(),
            self.per_million_frames(),
            self.bytes / self.frames,
            self.bytes / self.updates,
            self.latency(0.5),
            self.latency(0.99),
            self.latency(1.0),
            self.megabytes(),
            self.cpu / self.seconds,
            self.crowd_cpu / self.seconds,
        )
    }
}

/// Returns a quantile of sorted microseconds, in milliseconds; NaN if there are none.
pub fn quantile(sorted: &[u64], part: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1)) as f64 * part;
    sorted.get(at as usize).map_or(f64::NAN, |micros| *micros as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_the_news_of_every_step_since_the_last() {
        let times = Times::default();
        (1..=4).for_each(|step| times.note(step));
        let begun = times.of(4).unwrap();
        let seen = vec![vec![(1, begun), (3, begun + 7_000), (4, begun + 9_000)]];
        let report = Report { frames: 3, bytes: 300, seen, lost: 0 };
        let watched =
            Watched { clients: 10, seconds: 1.0, cpu: 0.5, crowd_cpu: 0.0, memory: 0.0, latest_tick: None, report };
        let run = watched.run(&times, 5);
        assert_eq!(run.latencies.len(), 3, "of steps 2, 3 and 4");
        assert!(run.latency(1.0) >= 9.0 && run.latency(0.0) >= 7.0);
        assert_eq!(run.updates, 3.0 * 5.0 * 10.0);
        assert_eq!(run.per_cpu_second(), 300.0);
    }
}
