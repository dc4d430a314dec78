use std::time::Duration;

use client::{BoardMirrors, Client, ClientError, MirrorUpdate, ServerMessage};
use odds::{Feed, FeedState, Filter, Region, Timestamp};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use crate::{
    author::{Author, draw_changes},
    conformance::wire::Session,
    guest::{self, BEARER, OTHER_TOKEN, TOKEN},
    http,
    stage::{DEADLINE, Running, Stage},
};

/// A region with a board of some events, and a gateway that reads it.
struct Scene {
    stage: Stage,
    author: Author,
    random: StdRng,
    gateway: Running,
}

const REGION: Region = Region::Uk;

impl Scene {
    async fn set(settings: &[&str]) -> Self {
        let stage = Stage::set().await;
        let author = Author::start(&stage.kafka(), REGION).await;
        let gateway = stage.gateway("one", settings).await;
        let mut this = Self { stage, author, random: StdRng::seed_from_u64(5), gateway };
        this.step().await;
        this
    }

    async fn step(&mut self) {
        self.author.step(draw_changes(&mut self.random, 8)).await;
    }

    async fn join(&self, auth: Value) -> Guest {
        Guest { client: Client::connect(&self.gateway.address, &auth).await.unwrap(), mirrors: BoardMirrors::default() }
    }
}

impl Scene {
    /// Joins with a small receive buffer, so that the kernel holds little while the client doesn't read.
    async fn join_stalling(&self, auth: Value) -> Guest {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(self.gateway.address.parse().unwrap()).await.unwrap();
        Guest {
            client: Client::connect_over(stream, "gateway", &auth).await.unwrap(),
            mirrors: BoardMirrors::default(),
        }
    }
}

fn sent_at(feed: &Value) -> Timestamp {
    serde_json::from_value(feed["at"].clone()).unwrap()
}

/// A client that mirrors the boards it receives.
struct Guest {
    client: Client,
    mirrors: BoardMirrors,
}

impl Guest {
    async fn next(&mut self) -> (ServerMessage, MirrorUpdate) {
        let received = timeout(DEADLINE, self.client.next()).await.expect("something comes").unwrap();
        let update = match &received {
            ServerMessage::Event { name, payload } => self.mirrors.take(name, payload),
            ServerMessage::Answer { .. } => MirrorUpdate::Nothing,
        };
        (received, update)
    }

    /// Waits for an event of this name, and returns its payload.
    async fn event(&mut self, wanted: &str) -> Value {
        loop {
            if let (ServerMessage::Event { name, payload }, _) = self.next().await
                && name == wanted
            {
                return serde_json::from_str(&payload).unwrap();
            }
        }
    }

    /// Waits until its region is live, and returns that feed.
    async fn comes_to_be_live(&mut self) -> Value {
        loop {
            let feed = self.event("feed").await;
            if feed["state"] == "live" {
                return feed;
            }
        }
    }

    async fn answer(&mut self, event: &str, data: &Value) -> Value {
        let wanted = self.client.ask(event, data).await.unwrap();
        loop {
            if let (ServerMessage::Answer { number, answer }, _) = self.next().await
                && number == wanted
            {
                return answer;
            }
        }
    }

    fn shows(&self, scene: &Scene, filter: &Filter) -> bool {
        self.mirrors.boards.get(&REGION).is_some_and(|board| *board.events() == scene.author.history.newest(filter))
    }

    async fn comes_to_show(&mut self, scene: &Scene, filter: &Filter) {
        while !self.shows(scene, filter) {
            self.next().await;
        }
    }
}

fn uk() -> Value {
    json!({ "token": TOKEN, "regions": ["uk"] })
}

async fn refusal(address: &str, auth: Value) -> String {
    match Client::connect(address, &auth).await {
        Err(ClientError::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_is_told_why() {
    let scene = Scene::set(&["--max-connections=2", "--max-connections-per-address=2"]).await;
    let address = &scene.gateway.address;
    assert!(refusal(address, json!({})).await.starts_with("unauthenticated: "));
    assert!(refusal(address, json!({ "token": "tb_wrong" })).await.starts_with("unauthenticated: "));
    let error = refusal(address, json!({ "token": TOKEN, "regions": ["uk", "xx"] })).await;
    assert!(error.starts_with("bad_auth: regions: ") && error.contains("\"xx\""), "{error}");
    let let_in = json!({ "token": TOKEN, "regions": [] });
    let first = scene.join(let_in.clone()).await;
    let _second = scene.join(let_in.clone()).await;
    assert!(refusal(address, let_in.clone()).await.starts_with("too_many_connections: "));
    drop(first);
    crate::stage::until("a place is free again", async || Client::connect(address, &let_in).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_change_at_once_and_in_order() {
    let mut scene = Scene::set(&[]).await;
    let mut guest = scene.join(uk()).await;
    assert_eq!(guest.event("subscriptions").await, json!({ "v": 1, "regions": ["uk"] }));
    guest.comes_to_show(&scene, &Filter::default()).await;

    let refused = guest.answer("subscribe", &json!({ "regions": ["uk", "mars"] })).await;
    assert_eq!(refused["error"]["code"], "invalid_regions");
    assert!(refused["error"]["message"].as_str().unwrap().contains("mars"));

    assert_eq!(guest.answer("subscribe", &json!({ "regions": [] })).await, json!({ "ok": true, "regions": [] }));
    scene.step().await;
    let silence = timeout(Duration::from_millis(300), guest.client.next()).await;
    assert!(silence.is_err(), "nothing follows the answer: {silence:?}");

    // The last of several requests in a row counts.
    for regions in [json!(["uk"]), json!(["us", "eu"]), json!([]), json!(["uk", "uk"])] {
        guest.client.ask("subscribe", &json!({ "regions": regions })).await.unwrap();
    }
    guest.comes_to_show(&scene, &Filter::default()).await;
    assert_eq!(guest.mirrors.regions, [REGION]);
    let refused = guest.answer("resync", &json!({ "region": "us" })).await;
    assert_eq!(refused["error"]["code"], "not_subscribed");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_what_is_sent_and_bad_ones_change_nothing() {
    let mut scene = Scene::set(&["--max-filters=1"]).await;
    for _ in 0..10 {
        scene.step().await;
    }
    let sport = json!({ "sports": ["s1"] });
    let narrow = Filter::from_value(&sport).unwrap();
    let mut guest = scene.join(json!({ "token": TOKEN, "regions": ["uk"], "filter": sport })).await;
    guest.comes_to_show(&scene, &narrow).await;

    for (bad, named) in [(json!({ "sport": [] }), "sport"), (json!({ "markets": 7 }), "markets")] {
        let refused = guest.answer("filter", &bad).await;
        assert_eq!(refused["error"]["code"], "invalid_filter");
        assert!(refused["error"]["message"].as_str().unwrap().contains(named), "{refused}");
    }
    scene.step().await;
    guest.comes_to_show(&scene, &narrow).await;

    // A name without any quotes yet is valid.
    assert_eq!(guest.answer("filter", &json!({ "sports": ["later"] })).await["ok"], true);
    guest.comes_to_show(&scene, &Filter::from_value(&json!({ "sports": ["later"] })).unwrap()).await;
    let mut other = scene.join(uk()).await;
    let refused = other.answer("filter", &json!({ "markets": ["m1"] })).await;
    assert_eq!(refused["error"]["code"], "too_many_filters", "{refused}");
    other.comes_to_show(&scene, &Filter::default()).await;
    assert_eq!(guest.answer("filter", &json!({})).await["ok"], true);
    guest.comes_to_show(&scene, &Filter::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_can_not_take_the_filters_of_all_others() {
    let scene = Scene::set(&["--max-filters-per-user=2"]).await;
    let with = |token: &str, sport: &str| json!({ "token": token, "regions": ["uk"], "filter": { "sports": [sport] } });
    let first = scene.join(with(TOKEN, "a")).await;
    let mut second = scene.join(with(TOKEN, "b")).await;
    let mut third = scene.join(uk()).await;
    let refused = third.answer("filter", &json!({ "sports": ["c"] })).await;
    assert_eq!(refused["error"]["code"], "too_many_filters", "{refused}");
    assert_eq!(third.answer("filter", &json!({ "sports": ["a"] })).await["ok"], true, "one that is in use");
    assert_eq!(second.answer("filter", &json!({ "sports": ["c"] })).await["ok"], true, "one for another");

    guest::add_user(&*scene.stage.store, "other", OTHER_TOKEN).await;
    let mut other = scene.join(with(OTHER_TOKEN, "d")).await;
    assert_eq!(other.answer("filter", &json!({ "sports": ["e"] })).await["ok"], true);
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_is_answered_from_the_cursor_or_with_everything() {
    let scene = Scene::set(&[]).await;
    let mut guest = scene.join(uk()).await;
    guest.comes_to_show(&scene, &Filter::default()).await;
    let cursor = guest.mirrors.cursors()[&REGION].to_string();

    assert_eq!(guest.answer("resync", &json!({ "region": "uk", "cursor": cursor })).await, json!({ "ok": true }));
    assert_eq!(guest.event("odds").await["prev"], cursor, "even if there is nothing new");
    assert_eq!(guest.answer("resync", &json!({ "region": "uk" })).await, json!({ "ok": true }));
    guest.event("snapshot").await;
    assert_eq!(guest.answer("resync", &json!({ "region": "uk", "cursor": "no cursor" })).await, json!({ "ok": true }));
    guest.event("snapshot").await;
    assert_eq!(guest.answer("resync", &json!({ "region": "no region" })).await["error"]["code"], "invalid_regions");

    // The gateway waits for a state that it has not reached yet, but not forever.
    let ahead = format!("9{cursor}");
    let began = Instant::now();
    assert_eq!(guest.answer("resync", &json!({ "region": "uk", "cursor": ahead })).await, json!({ "ok": true }));
    guest.event("snapshot").await;
    assert!(began.elapsed() > Duration::from_secs(1), "the gateway waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_frames_for_who_asks_and_the_same_board() {
    let mut scene = Scene::set(&[]).await;
    let mut calm = scene.join(json!({ "token": TOKEN, "regions": ["uk"], "max_rate": 0.5 })).await;
    let mut quick = scene.join(uk()).await;
    calm.comes_to_show(&scene, &Filter::default()).await;
    quick.comes_to_show(&scene, &Filter::default()).await;
    let began = Instant::now();
    for _ in 0..60 {
        scene.step().await;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let mut frames = [0, 0];
    for (guest, frames) in [&mut calm, &mut quick].into_iter().zip(&mut frames) {
        while !guest.shows(&scene, &Filter::default()) {
            *frames += u32::from(matches!(guest.next().await.1, MirrorUpdate::Board(_)));
        }
    }
    let most = began.elapsed().as_secs_f64() * 0.5 + 2.0;
    assert!(f64::from(frames[0]) <= most && frames[0] * 3 < frames[1], "{frames:?}, at most {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_fresh_it_is_is_told_at_once() {
    let mut scene = Scene::set(&[]).await;
    let mut guest = scene.join(uk()).await;
    assert_eq!(guest.comes_to_be_live().await["source"], "test");
    scene.author.feed = FeedState::Stale;
    scene.step().await;
    let began = Instant::now();
    while guest.event("feed").await["state"] != "stale" {}
    assert!(began.elapsed() < Duration::from_secs(5), "long before the next regular one");
}

/// Even while nothing changes: clients judge the age of prices by the gateway's clock.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_the_time_again_and_again() {
    let scene = Scene::set(&[]).await;
    let mut guest = scene.join(uk()).await;
    let first = guest.comes_to_be_live().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = scene.join(uk()).await.event("feed").await;
    assert!(sent_at(&later).millis_since(sent_at(&first)) >= 1_500, "a later client gets the current time");
    assert!(sent_at(&guest.event("feed").await) > sent_at(&later));
}

/// Otherwise, prices that are polled regularly would look stale between two feeds.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_is_told_more_often_where_prices_are_short_lived() {
    let mut scene = Scene::set(&[]).await;
    scene.author.good_for = 8_000;
    scene.step().await;
    let mut guest = scene.join(uk()).await;
    let first = guest.comes_to_be_live().await;
    let next = guest.event("feed").await;
    assert!(sent_at(&next).millis_since(sent_at(&first)) < 9_000, "{first} {next}");
}

/// Until then, clients show its prices as stale.
#[tokio::test(flavor = "multi_thread")]
async fn that_a_sport_is_fresh_again_is_told_at_once() {
    let mut scene = Scene::set(&[]).await;
    let is_good = |feed: &Value| {
        let feed: Feed = serde_json::from_value(feed.clone()).unwrap();
        feed.sports.values().all(|sport| sport.stale_after >= feed.at)
    };
    scene.author.good_for = 100;
    scene.step().await;
    let mut guest = scene.join(uk()).await;
    let mut first = guest.comes_to_be_live().await;
    while is_good(&first) {
        guest = scene.join(uk()).await;
        first = guest.event("feed").await;
    }
    scene.author.good_for = 60_000;
    scene.step().await;
    let began = Instant::now();
    while !is_good(&guest.event("feed").await) {}
    assert!(began.elapsed() < Duration::from_secs(5), "long before the next regular one");
}

/// A client never gets a feed that is newer than its board: between two ticks, in the middle of a snapshot, with few
/// frames, or after a reconnect.
#[tokio::test(flavor = "multi_thread")]
async fn no_feed_is_newer_than_the_board_that_a_client_has() {
    let mut scene = Scene::set(&["--tick=400"]).await;
    // So that a feed comes every second.
    scene.author.good_for = 2_000;
    let history = scene.author.history.clone();
    let mut auths = vec![uk(), json!({ "token": TOKEN, "regions": ["uk"], "max_rate": 0.7 })];
    let mut guests = Vec::new();
    for auth in &auths {
        guests.push(scene.join(auth.clone()).await);
    }
    let mut late = scene.join(uk()).await;
    late.comes_to_show(&scene, &Filter::default()).await;
    let cursor = late.mirrors.boards[&REGION].cursor().unwrap();
    let end = Instant::now() + Duration::from_secs(6);
    let writing = async {
        while Instant::now() < end {
            scene.step().await;
            tokio::time::sleep(Duration::from_millis(90)).await;
        }
    };
    let follow = |mut guest: Guest| {
        let history = &history;
        async move {
            let (mut fresh, mut feeds) = (0, 0);
            while Instant::now() < end {
                let (received, _) = guest.next().await;
                if !matches!(&received, ServerMessage::Event { name, .. } if name == "feed") {
                    continue;
                }
                let feed = &guest.mirrors.feeds[&REGION];
                let Some(polled) = feed.sports.values().map(|sport| sport.polled_at).max() else { continue };
                let shown = guest.mirrors.boards.get(&REGION).and_then(client::Mirror::cursor);
                assert_eq!(feed.cursor, shown, "the feed names where the client is");
                let has = shown.map(|cursor| history.polled_at(cursor.step()));
                assert!(has.is_some_and(|has| polled <= has), "the feed is of {polled}, the board of {has:?}");
                fresh += u32::from(Some(polled) == has);
                feeds += 1;
            }
            (fresh, feeds)
        }
    };
    let following = futures::future::join_all(guests.into_iter().map(follow));
    let ((), counts) = tokio::join!(writing, following);
    assert!(counts.iter().all(|(fresh, feeds)| *fresh >= 3 && *feeds >= 4), "{counts:?}");
    // A client that was disconnected meanwhile.
    auths[0]["resume"] = json!({ "uk": cursor.to_string() });
    let mut back = scene.join(auths.swap_remove(0)).await;
    back.mirrors = late.mirrors;
    let feed: Feed = serde_json::from_value(back.comes_to_be_live().await).unwrap();
    let has = history.polled_at(back.mirrors.boards[&REGION].cursor().unwrap().step());
    assert!(feed.sports.values().all(|sport| sport.polled_at <= has));
}

/// Nothing is queued for a client that doesn't read. When it reads again, a few frames bring it to the newest board.
/// Meanwhile it doesn't delay other clients.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_client_gets_one_frame_for_all_it_missed() {
    let mut scene = Scene::set(&[]).await;
    let mut stalled = scene.join_stalling(uk()).await;
    let mut quick = scene.join(uk()).await;
    stalled.comes_to_show(&scene, &Filter::default()).await;

    let steps = 400;
    for _ in 0..steps {
        scene.step().await;
        // A client that reads has each step after a tick of 20 ms.
        while timeout(Duration::from_millis(2), quick.next()).await.is_ok() {}
    }
    quick.comes_to_show(&scene, &Filter::default()).await;
    let mut frames = 0;
    while !stalled.shows(&scene, &Filter::default()) {
        frames += u32::from(matches!(stalled.next().await.1, MirrorUpdate::Board(_)));
    }
    assert!(frames < steps / 4, "{frames} frames for {steps} steps");
    assert!(scene.gateway.metric("toteboard_gateway_slow_client_deferrals_total{region=\"uk\"}") >= 1.0);
}

/// The `bye` arrives although the connection is full of answers when it is cut.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_takes_no_answers_is_told_so_and_cut_off() {
    let scene = Scene::set(&[]).await;
    for round in 0..10 {
        let mut guest = scene.join_stalling(uk()).await;
        for _ in 0..5_000 {
            if guest.client.ask("resync", &uk()).await.is_err() {
                break;
            }
        }
        let ended = async {
            let mut bye = None;
            loop {
                match guest.client.next().await {
                    Ok(ServerMessage::Event { name, payload }) if name == "bye" => bye = Some(payload),
                    Ok(_) => {}
                    Err(_) => return bye,
                }
            }
        };
        let bye = timeout(DEADLINE, ended).await.expect("it is cut off");
        assert!(bye.as_ref().is_some_and(|bye| bye.contains("too_many_requests")), "round {round}: {bye:?}");
    }
    assert_eq!(http::get(&scene.gateway.address, "/healthz", &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_sent_away_again_and_again_is_not_let_in_for_a_while() {
    let scene = Scene::set(&["--max-payload=100000"]).await;
    let address = &scene.gateway.address;
    // Far more requests in one POST than may be pending.
    let requests: Vec<String> = (0..1_000).map(|id| format!("42{id}[\"resync\",{{\"region\":\"uk\"}}]")).collect();
    let mut reasons = 0;
    for _ in 0..20 {
        let mut session = Session::by_polling(address).await;
        session.connect(&uk()).await;
        session.send_together(&requests).await;
        let sent = Instant::now();
        let ended = async {
            let mut last = None;
            while let Some(packet) = session.next().await {
                last = Some(packet);
            }
            last
        };
        let Some(last) = timeout(DEADLINE, ended).await.expect("it is cut off") else {
            // A `bye` waits five seconds for a client to poll. The whole machine may have halted that long.
            assert!(sent.elapsed() > Duration::from_secs(4), "no reason after {:?}", sent.elapsed());
            continue;
        };
        assert!(last.contains("bye") && last.contains("too_many_requests"), "{last}");
        reasons += 1;
    }
    assert!(reasons >= 18, "{reasons} of 20 got a reason");
    assert!(refusal(address, uk()).await.starts_with("too_many_attempts: "));
    guest::add_user(&*scene.stage.store, "other", OTHER_TOKEN).await;
    scene.join(json!({ "token": OTHER_TOKEN, "regions": [] })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_says_goodbye_and_ends_the_transport() {
    let scene = Scene::set(&["--drain-seconds=2"]).await;
    let mut guests = Vec::new();
    for _ in 0..5 {
        let mut guest = scene.join(uk()).await;
        guest.comes_to_show(&scene, &Filter::default()).await;
        guests.push(guest);
    }
    scene.gateway.stop();
    for guest in &mut guests {
        let bye = guest.event("bye").await;
        assert_eq!(bye["code"], "stopping");
        assert!(bye["retry_after_ms"].is_u64(), "{bye}");
    }
    for mut guest in guests {
        // Not by a Socket.IO disconnect, after which the official clients don't connect again.
        let ended = loop {
            match timeout(DEADLINE, guest.client.next()).await.expect("it ends") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(!matches!(ended, ClientError::Refused(_) | ClientError::Unexpected(_)), "{ended:?}");
    }
    scene.gateway.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_serves_those_who_are_still_there() {
    // The first client is sent away at once, and the second after a quarter of an hour.
    let mut scene = Scene::set(&["--drain-seconds=3600"]).await;
    let mut guests = Vec::new();
    for _ in 0..4 {
        let mut guest = scene.join(uk()).await;
        guest.comes_to_show(&scene, &Filter::default()).await;
        guests.push(guest);
    }
    let [kept, other] = [(); 2].map(|()| TcpStream::connect(scene.gateway.address.clone()));
    let (kept, other) = (kept.await.unwrap(), other.await.unwrap());
    scene.gateway.stop();
    let one_is_gone = async || scene.gateway.metric("toteboard_gateway_connections") <= 3.0;
    crate::stage::until("one is sent away", one_is_gone).await;
    assert!(TcpStream::connect(&scene.gateway.address).await.is_err(), "it accepts no new connections");
    let request = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(http::send_over(kept, request.as_bytes()).await.status, 503);
    let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let refused = http::send_over(other, request.as_bytes()).await;
    assert_eq!((refused.status, &*refused.headers["connection"]), (503, "close"));
    scene.step().await;
    let mut served = 0;
    for mut guest in guests {
        while !guest.shows(&scene, &Filter::default()) {
            match timeout(DEADLINE, guest.client.next()).await.expect("odds, or the end") {
                Ok(ServerMessage::Event { name, payload }) => drop(guest.mirrors.take(&name, &payload)),
                Ok(ServerMessage::Answer { .. }) => {}
                Err(_) => break,
            }
        }
        served += usize::from(guest.shows(&scene, &Filter::default()));
    }
    assert_eq!(served, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_by_http_is_compressed_tagged_and_leads_on() {
    let mut scene = Scene::set(&[]).await;
    let address = scene.gateway.address.clone();
    let there_is = async || http::get(&address, "/api/odds/uk", &[BEARER]).await.status == 200;
    crate::stage::until("there is a board", there_is).await;
    let plain = http::get(&address, "/api/odds/uk", &[BEARER]).await;
    let tag = plain.headers["etag"].clone();
    let zipped = http::get(&address, "/api/odds/uk", &[BEARER, ("accept-encoding", "gzip, br")]).await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    assert!(zipped.body.len() * 2 < plain.body.len());
    let same = http::get(&address, "/api/odds/uk", &[BEARER, ("if-none-match", &tag)]).await;
    assert_eq!((same.status, same.body.len()), (304, 0));

    // A client can resume from the board's cursor.
    let cursor = plain.json()["cursor"].clone();
    scene.step().await;
    let mut guest = scene.join(json!({ "token": TOKEN, "regions": ["uk"], "resume": { "uk": cursor } })).await;
    let mut frame = guest.event("odds").await;
    assert_eq!(frame["prev"], cursor);
    // A client that joins before the step was read first gets an empty frame.
    while frame["cursor"] == cursor {
        frame = guest.event("odds").await;
    }
    let changed = http::get(&address, "/api/odds/uk", &[BEARER, ("if-none-match", &tag)]).await;
    assert_eq!(changed.status, 200);

    assert_eq!(http::get(&address, "/api/odds/mars", &[BEARER]).await.status, 404);
    let bad = http::get(&address, "/api/odds/uk?sport=a%20b", &[BEARER]).await;
    assert_eq!((bad.status, bad.json()["error"]["fields"]["sport"].is_string()), (422, true));
    assert_eq!(http::get(&address, "/api/odds/us", &[BEARER]).await.status, 503, "nothing was ever published there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_gone_gives_its_place_back() {
    let scene = Scene::set(&["--max-connections=10"]).await;
    // The listener accepts a thousand connections more than that.
    for n in 0..1_050 {
        let end = Instant::now() + DEADLINE;
        loop {
            match Client::connect(&scene.gateway.address, &json!({ "token": TOKEN, "regions": [] })).await {
                Ok(_) => break,
                // Previous clients may not be gone yet.
                Err(ClientError::Refused(reason)) if reason.starts_with("too_many_connections") => {
                    assert!(Instant::now() < end, "client {n}: {reason}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("client {n}: {error}"),
            }
        }
    }
}
