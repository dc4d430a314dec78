//! Programs that produce transactions, and repeat each request until it is accepted.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use kafka::TRANSACTIONS;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::mail::NOBODY;

const RECIPIENTS: usize = 40;
/// One of so many e-mails goes to somebody who doesn't exist.
const NOBODY_OF: usize = 25;
const AGAIN_AFTER: Duration = Duration::from_millis(500);
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// A transaction that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: String,
    pub email: Option<String>,
    pub has_phone: bool,
}

pub struct Load {
    accepted: Arc<Mutex<Vec<Accepted>>>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Load {
    /// Begins with this many transactions a second, at all of these gateways. Each has to be accepted within this time.
    pub fn start(gateways: Vec<String>, token: String, a_second: u32, within: Duration) -> Self {
        let (accepted, stop) = (Arc::<Mutex<Vec<Accepted>>>::default(), CancellationToken::new());
        let (all, stopped) = (accepted.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let http = reqwest::Client::builder().timeout(ANSWERED_WITHIN).build()?;
            let poster = Arc::new(Poster { http, gateways, token, within });
            let mut posting = JoinSet::new();
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / a_second);
            for number in 0.. {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stopped.cancelled() => break,
                }
                posting.spawn(poster.clone().post(number));
                while let Some(posted) = posting.try_join_next() {
                    all.lock().expect("nobody panics while holding it").push(posted??);
                }
            }
            while let Some(posted) = posting.join_next().await {
                all.lock().expect("nobody panics while holding it").push(posted??);
            }
            Ok(())
        });
        Self { accepted, stop, task }
    }

    /// How many were accepted until now.
    pub fn count(&self) -> usize {
        self.accepted.lock().expect("nobody panics while holding it").len()
    }

    /// Begins no more, and returns all when the last one is accepted.
    pub async fn stop(self) -> anyhow::Result<Vec<Accepted>> {
        self.stop.cancel();
        self.task.await??;
        Ok(std::mem::take(&mut *self.accepted.lock().expect("nobody panics while holding it")))
    }
}

struct Poster {
    http: reqwest::Client,
    gateways: Vec<String>,
    token: String,
    within: Duration,
}

impl Poster {
    async fn post(self: Arc<Self>, number: usize) -> anyhow::Result<Accepted> {
        let (accepted, body) = transaction(number);
        let began = Instant::now();
        // Each attempt is at another gateway.
        for attempt in number.. {
            let url = format!("http://{}/api/v1/produce", self.gateways[attempt % self.gateways.len()]);
            let request = self.http.post(url).bearer_auth(&self.token).header("content-type", "application/json");
            if let Ok(answer) = request.body(body.to_string()).send().await {
                match answer.status() {
                    status if status.is_success() => break,
                    // The request of an attempt before is still running.
                    status if status.as_u16() == 409 || status.is_server_error() => {}
                    status => bail!("{status}: {}", answer.text().await?),
                }
            }
            ensure!(began.elapsed() < self.within, "{} was not accepted in time", accepted.id);
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        Ok(accepted)
    }
}

/// One of three is by e-mail, one by SMS, and one by both.
fn transaction(number: usize) -> (Accepted, Value) {
    let id = format!("t-{number}");
    let (recipient, kind) = (number % RECIPIENTS, number % 3);
    let email = (kind != 1).then(|| match number % NOBODY_OF {
        0 => format!("{NOBODY}{number}@example.com"),
        _ => format!("user{recipient}@example.com"),
    });
    let phone = (kind != 0).then(|| format!("+4477009{recipient:05}"));
    let body = json!({
        "request_id": id, "topic_name": TRANSACTIONS, "transaction_id": id, "message_body": "2 tickets",
        "email": email, "phone": phone,
    });
    (Accepted { id, email, has_phone: phone.is_some() }, body)
}
