//! Measures in Chromium how soon the page shows a price on a slow phone, how many frames a second it draws while 200
//! prices a second change, and how it draws charts, with a board of 300 events. `cargo xtask bench` builds the page and sets `PAGE`. If
//! `FORMER_PAGE` is the folder of another built page, the two are loaded in turns and compared.

#![expect(clippy::unwrap_used, reason = "a benchmark that meets the unexpected fails")]

mod beside;

use std::{ffi::OsStr, path::Path, pin::pin, process::ExitCode, time::Duration};

use beside::Gateway;
use kafka::{Embedded, all_topics};
use odds::{Details, EventId, Image, Market, Outcome, Outcomes, Quotes, Region};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use testkit::author::Author;

const REGION: Region = Region::Uk;
const EVENTS: u32 = 300;
const BOOKMAKERS: u32 = 12;
/// While pages are loaded: about as fast as a producer with a large plan polls.
const CALM: Pace = Pace { steps_a_second: 1, changes_a_step: 10 };
/// While frames are counted.
const BUSY: Pace = Pace { steps_a_second: 20, changes_a_step: 10 };

struct Pace {
    steps_a_second: u64,
    changes_a_step: usize,
}

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "set by `cargo xtask bench`")]
    let page = |variable| std::env::var(variable).ok();
    let own = page("PAGE").expect("PAGE is not set: run `cargo xtask bench`");
    let pages: Vec<String> = [own].into_iter().chain(page("FORMER_PAGE")).collect();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let cluster = Embedded::start(&all_topics()).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let mut author = Author::start(&cluster.settings(), REGION).await;
        let images: Vec<(EventId, Image)> =
            (0..EVENTS).map(|n| (format!("event-{n:03}").parse().unwrap(), image(&mut random, n))).collect();
        author.step(images.iter().map(|(id, image)| (id.clone(), Some(image.clone()))).collect()).await;

        let start = |page: &String| {
            let flags = ["--registration=open".to_owned(), format!("--page={page}")];
            Gateway::start(&cluster, tempfile::tempdir().unwrap(), &flags)
        };
        let gateways: Vec<Gateway> = pages.iter().map(start).collect();
        let addresses: Vec<String> = gateways.iter().map(|gateway| format!("http://{}", gateway.address)).collect();
        for gateway in &gateways {
            while tokio::net::TcpStream::connect(&gateway.address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }

        let mut writer = Writer { author, images, random };
        let loads_well = writer.write_during(&CALM, node("loading.mjs", &addresses)).await;
        let draws_well = writer.write_during(&BUSY, node("frames.mjs", &addresses[..1])).await;
        let charts_well = writer.write_during(&CALM, node("charting.mjs", &addresses[..1])).await;
        if loads_well && draws_well && charts_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

/// What changes on the board.
struct Writer {
    author: Author,
    images: Vec<(EventId, Image)>,
    random: StdRng,
}

impl Writer {
    /// Changes prices at this pace until the work is done, and returns its result.
    async fn write_during<T>(&mut self, pace: &Pace, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / pace.steps_a_second));
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => self.step(pace.changes_a_step).await,
            }
        }
    }

    async fn step(&mut self, changes: usize) {
        let changes = (0..changes).map(|_| {
            let (id, image) = &mut self.images[self.random.random_range(0..EVENTS as usize)];
            let bookmaker = self.random.random_range(0..image.quotes.len());
            *image.quotes.values_mut().nth(bookmaker).unwrap() = quote(&mut self.random);
            (id.clone(), Some(image.clone()))
        });
        self.author.step(changes.collect()).await;
    }
}

/// Runs one of the programs that look at the page. Returns whether all goals were met.
async fn node(program: &str, arguments: &[impl AsRef<OsStr>]) -> bool {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/e2e").join(program);
    tokio::process::Command::new("node").arg(program).args(arguments).status().await.unwrap().success()
}

fn image(random: &mut StdRng, n: u32) -> Image {
    let key = |bookmaker| (format!("bookmaker_{bookmaker}").parse().unwrap(), "h2h".parse().unwrap());
    let quotes: Quotes = (0..BOOKMAKERS).map(|bookmaker| (key(bookmaker), quote(random))).collect();
    let sport = n % 6;
    let details = Details {
        sport_key: format!("sport_{sport}").parse().unwrap(),
        sport_title: format!("Sport {sport}"),
        commence_time: service::now().plus_millis(i64::from(n) * 60_000),
        home_team: Some("Home".into()),
        away_team: Some("Away".into()),
    };
    Image { polled_at: service::now(), details, quotes }
}

fn quote(random: &mut StdRng) -> Market {
    let mut outcome = |name: &str| {
        let price: u32 = random.random_range(101..1_000);
        let price = format!("{}.{:02}", price / 100, price % 100).parse().unwrap();
        Outcome { name: name.into(), price, point: None, description: None }
    };
    let outcomes = vec![outcome("Home"), outcome("Draw"), outcome("Away")];
    Market { last_update: service::now(), outcomes: Outcomes::new(outcomes) }
}
