//! The clients that people start from, in other languages, beside the board that was written.

use std::{path::Path, process::Stdio, time::Duration};

use odds::{Filter, Region};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    author::{Author, History, draw_changes},
    guest::TOKEN,
    stage::Stage,
};

const REGIONS: [Region; 2] = [Region::Uk, Region::Eu];

fn newest(history: &History) -> Value {
    let events = history.newest(&Filter::default()).into_iter().map(|(id, event)| {
        let quotes = event.quotes.iter().map(|((bookmaker, market), quote)| {
            let outcomes: Value = serde_json::from_str(quote.outcomes.as_json()).unwrap();
            json!({ "bookmaker": bookmaker, "market": market, "last_update": quote.last_update, "outcomes": outcomes })
        });
        let mut value = serde_json::to_value(&event.details).unwrap();
        value["quotes"] = sorted(quotes.collect());
        (id.to_string(), value)
    });
    Value::Object(events.collect())
}

fn sorted(mut quotes: Vec<Value>) -> Value {
    quotes.sort_by_key(|quote| (quote["bookmaker"].to_string(), quote["market"].to_string()));
    Value::Array(quotes)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test` installs what it needs"]
async fn javascript_and_python_mirror_the_boards() {
    #[expect(clippy::disallowed_methods, reason = "told by `cargo xtask test`")]
    let python = std::env::var("PYTHON").unwrap_or("python3".into());
    #[expect(clippy::disallowed_methods, reason = "said by cargo")]
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let examples = Path::new(&package).parent().unwrap().join("examples");
    let stage = Stage::set().await;
    let mut authors = Vec::new();
    for region in REGIONS {
        authors.push(Author::start(&stage.kafka(), region).await);
    }
    let gateway = stage.gateway("one", &[]).await;
    let mut random = StdRng::seed_from_u64(9);
    for author in &mut authors {
        author.step(draw_changes(&mut random, 20)).await;
    }

    let mut running = Vec::new();
    for (program, script) in [("node", "javascript/mirror.mjs"), (python.as_str(), "python/mirror.py")] {
        for transport in ["websocket", "polling"] {
            let mut command = Command::new(program);
            command.arg(examples.join(script)).args(["--url", &format!("http://{}", gateway.address)]);
            command.args(["--token", TOKEN, "--regions", "uk,eu", "--seconds", "8", "--transport", transport]);
            command.stdout(Stdio::piped()).kill_on_drop(true);
            running.push((format!("{script} by {transport}"), command.spawn().unwrap()));
        }
    }
    // They start, join and follow.
    for _ in 0..50 {
        for author in &mut authors {
            author.step(draw_changes(&mut random, 20)).await;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    for (name, program) in running {
        let output = program.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{name}: {}", output.status);
        let mut boards: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (region, author) in REGIONS.iter().zip(&authors) {
            let board = &mut boards[region.key()];
            for event in board.as_object_mut().unwrap().values_mut() {
                event["quotes"] = sorted(event["quotes"].as_array().unwrap().clone());
            }
            assert_eq!(*board, newest(&author.history), "{name}: {region}");
        }
    }
    gateway.ends().await.unwrap();
}
