//! Two gateways behind a Caddy with the configuration of docker compose, behind another Caddy that stands for a TLS
//! proxy. `CADDY` is the path of the program.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
};

use client::{BoardMirrors, Client, ServerMessage};
use odds::{Filter, Region};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    process::{Child, Command},
    task::JoinSet,
    time::{Duration, Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    author::{Author, draw_board, draw_changes},
    bridge::Bridge,
    guest::TOKEN,
    http,
    polling::Poller,
    stage::{DEADLINE, Running, Stage, until},
};

const REGION: Region = Region::Uk;
/// How many sign-ins a minute the gateways allow each address.
const ATTEMPTS: usize = 6;
/// One more is allowed after this many seconds. A test that takes much longer proves nothing.
const ATTEMPT_EVERY: u64 = 60 / ATTEMPTS as u64;

/// A running Caddy, which ends when it is dropped.
struct Caddy {
    _child: Child,
    _storage: TempDir,
}

impl Caddy {
    async fn start(config: &Path, environment: &[(&str, &str)], port: u16) -> Self {
        #[expect(clippy::disallowed_methods, reason = "set by `cargo xtask`")]
        let program = std::env::var("CADDY").expect("CADDY names a Caddy that knows `client_ip_hash`");
        let storage = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
        command.envs(environment.iter().copied());
        command.env("XDG_DATA_HOME", storage.path()).env("XDG_CONFIG_HOME", storage.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        until("Caddy listens", async || {
            assert!(child.try_wait().unwrap().is_none(), "Caddy ended");
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
        })
        .await;
        Self { _child: child, _storage: storage }
    }
}

/// Starts a name server that resolves every name to these addresses.
async fn name_server(addresses: Vec<Ipv4Addr>) -> (SocketAddr, AbortOnDropHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let serving = async move {
        let mut query = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            let answer = resolve(&query[..length], &addresses);
            socket.send_to(&answer, from).await.unwrap();
        }
    };
    (address, AbortOnDropHandle::new(tokio::spawn(serving)))
}

/// Returns the answer to a DNS query.
fn resolve(query: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    const HEAD: usize = 12;
    let name = query[HEAD..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let question = &query[HEAD..HEAD + name + 4];
    let is_ipv4 = question[name..] == [0, 1, 0, 1];
    let addresses = if is_ipv4 { addresses } else { &[] };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        // The name in the question, an IPv4 address, a TTL of zero.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

/// Returns a free port outside of the range from which the kernel assigns ports to outgoing connections.
async fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..30_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            return port;
        }
    }
}

struct Scene {
    gateways: [Running; 2],
    author: Author,
    random: StdRng,
    /// The inner proxy, as a stranger might reach it directly.
    inner: String,
    /// The outer proxy, which replaces the X-Forwarded-For of clients.
    outer: String,
    /// The outer proxy, which appends to the X-Forwarded-For of clients, as nginx can.
    adding: String,
    _proxies: [Caddy; 2],
    _names: AbortOnDropHandle<()>,
    _stage: Stage,
}

impl Scene {
    /// The inner proxy trusts `outer_proxy`.
    async fn set(outer_proxy: &str) -> Self {
        let (inner, outer, adding) = (free_port().await, free_port().await, free_port().await);
        let stage = Stage::set().await;
        let author = Author::start(&stage.kafka(), REGION).await;
        let settings =
            ["--trusted-proxy=127.0.0.1", "--public-origin=https://odds.example.com", "--drain-seconds=3600"];
        let attempts = format!("--attempts-per-minute={ATTEMPTS}");
        let one = stage.gateway("one", &[&settings[..], &[&attempts, "--listen=127.0.0.2:0"]].concat()).await;
        let port = one.address.rsplit(':').next().unwrap().to_owned();
        let listen = format!("--listen=127.0.0.3:{port}");
        let two = stage.gateway("two", &[&settings[..], &[&attempts, &listen]].concat()).await;

        let (names, _names) = name_server(vec![Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)]).await;
        let environment = [
            ("TOTEBOARD_WEB_PORT", inner.to_string()),
            ("TOTEBOARD_GATEWAYS", "gateways.test".to_owned()),
            ("TOTEBOARD_GATEWAY_PORT", port),
            ("TOTEBOARD_GATEWAY_RESOLVERS", format!("resolvers {names}")),
            ("TOTEBOARD_OUTER_PROXY", outer_proxy.to_owned()),
        ];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let config = crate::examples::checkout().join("deploy/web/Caddyfile");
        let inner_caddy = Caddy::start(&config, &environment, inner).await;

        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("Caddyfile");
        let text = format!(
            "{{\n admin off\n auto_https off\n persist_config off\n default_bind 127.0.0.1\n}}\n\
             :{outer} {{\n reverse_proxy 127.0.0.1:{inner}\n}}\n\
             :{adding} {{\n reverse_proxy 127.0.0.1:{inner} {{\n \
             header_up X-Forwarded-For \"{{header.X-Forwarded-For}}, {{remote_host}}\"\n }}\n}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let outer_caddy = Caddy::start(&config, &[], outer).await;
        let [inner, outer, adding] = [inner, outer, adding].map(|port| format!("127.0.0.1:{port}"));
        let (gateways, random, proxies) = ([one, two], StdRng::seed_from_u64(5), [inner_caddy, outer_caddy]);
        let mut scene =
            Self { gateways, author, random, inner, outer, adding, _proxies: proxies, _names, _stage: stage };
        for _ in 0..5 {
            scene.step().await;
        }
        scene
    }

    async fn step(&mut self) {
        self.author.step(draw_changes(&mut self.random, 8)).await;
    }

    fn is_shown_by(&self, mirrors: &BoardMirrors) -> bool {
        let newest = self.author.history.newest(&Filter::default());
        mirrors.boards.get(&REGION).is_some_and(|board| *board.events() == newest)
    }
}

/// The address of a client.
fn visitor(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, number)
}

/// Tries to sign in, and optionally claims another address. Returns the response's status.
async fn sign_in(source: Ipv4Addr, proxy: &str, claimed: Option<Ipv4Addr>) -> u16 {
    let body = json!({ "name": format!("user.{}", rand::random::<u32>()), "password": "a wrong password" }).to_string();
    let forwarded = claimed.map_or(String::new(), |claimed| format!("x-forwarded-for: {claimed}\r\n"));
    let request = format!(
        "POST /api/login HTTP/1.1\r\nhost: odds.example.com\r\norigin: https://odds.example.com\r\n{forwarded}\
         connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    http::send_over(http::connect_from(source, proxy).await, request.as_bytes()).await.status
}

/// Tries to sign in until it is refused. If it `lies`, it claims a different address each time.
async fn use_up(source: Ipv4Addr, proxy: &str, lies: bool) {
    let began = Instant::now();
    let mut tried = 0;
    while sign_in(source, proxy, lies.then(|| Ipv4Addr::new(198, 51, 100, tried))).await == 401 {
        tried += 1;
        assert!(tried < 30, "{source} is never refused");
    }
    let again = usize::try_from(began.elapsed().as_secs() / ATTEMPT_EVERY).unwrap() + 1;
    assert!((ATTEMPTS..=ATTEMPTS + again).contains(&tried.into()), "{source} was refused after {tried}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Caddy"]
async fn behind_a_proxy_attempts_of_one_address_do_not_use_up_those_of_another() {
    let scene = Scene::set("127.0.0.1").await;
    for (proxy, first) in [(&scene.outer, 10), (&scene.adding, 20)] {
        use_up(visitor(first), proxy, false).await;
        assert_eq!(sign_in(visitor(first + 1), proxy, None).await, 401, "another address");
        // A claimed address is not trusted, and does not count against the client that has it.
        use_up(visitor(first + 2), proxy, true).await;
        assert_eq!(sign_in(visitor(first + 3), proxy, None).await, 401);
        for _ in 0..2 * ATTEMPTS {
            assert_eq!(sign_in(visitor(first + 2), proxy, Some(visitor(first + 3))).await, 429);
        }
        assert_eq!(sign_in(visitor(first + 3), proxy, None).await, 401);
    }
    // A stranger that reaches the inner proxy is not trusted either.
    use_up(visitor(30), &scene.inner, true).await;
    assert_eq!(sign_in(visitor(30), &scene.inner, Some(visitor(31))).await, 429);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Caddy"]
async fn a_proxy_is_believed_only_if_it_was_named() {
    let scene = Scene::set("").await;
    use_up(visitor(10), &scene.outer, true).await;
    assert_eq!(sign_in(visitor(11), &scene.outer, None).await, 429, "all have the proxy's address");
    use_up(visitor(12), &scene.inner, true).await;
    assert_eq!(sign_in(visitor(13), &scene.inner, None).await, 401, "without a proxy each has its own");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Caddy"]
async fn behind_a_proxy_clients_are_spread_over_the_gateways_and_see_the_board() {
    let mut scene = Scene::set("127.0.0.1").await;
    let auth = json!({ "token": TOKEN, "regions": [REGION] });
    let mut sockets = Vec::new();
    for number in 1..=16 {
        let stream = http::connect_from(visitor(number), &scene.outer).await;
        sockets.push((Client::connect_with(stream, &scene.outer, &[], &auth).await.unwrap(), BoardMirrors::default()));
    }
    let connected = [0, 1].map(|at| scene.gateways[at].metric("toteboard_gateway_connections"));
    assert!(connected.iter().all(|&clients| clients > 0.0), "{connected:?}");
    assert_eq!(connected.iter().sum::<f64>(), 16.0);
    // One that asks for compression gets it through both proxies.
    let bridge = Bridge::start(&scene.outer).await;
    sockets.push((Client::connect(&bridge.address, &auth).await.unwrap(), BoardMirrors::default()));
    let mut pollers = Vec::new();
    for number in 1..=6 {
        pollers.push(Poller::connect_from(visitor(number), &scene.outer, &[REGION]).await);
    }
    for round in 0..3 {
        let end = Instant::now() + DEADLINE;
        for (client, mirrors) in &mut sockets {
            while !scene.is_shown_by(mirrors) {
                assert!(Instant::now() < end, "round {round}");
                if let ServerMessage::Event { name, payload } = client.next().await.unwrap() {
                    mirrors.take(&name, &payload);
                }
            }
        }
        for poller in &mut pollers {
            while !scene.is_shown_by(&poller.mirrors) {
                assert!(Instant::now() < end, "round {round}");
                assert_eq!(poller.poll().await, 200);
            }
        }
        scene.step().await;
    }
    let (compressed, inflated) = bridge.traffic.bytes();
    assert!(compressed * 2 < inflated, "{compressed} bytes became {inflated}");
}

/// Connects until it is let in. Returns how often it was refused before.
async fn join(number: u8, proxy: &str) -> (Client, usize) {
    let auth = json!({ "token": TOKEN, "regions": [REGION] });
    for refused in 0..5 {
        let stream = http::connect_from(visitor(number), proxy).await;
        if let Ok(client) = Client::connect_with(stream, proxy, &[], &auth).await {
            return (client, refused);
        }
    }
    panic!("{number} is always refused");
}

/// One gateway sends its clients away, over an hour.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Caddy"]
async fn behind_a_proxy_nobody_is_sent_to_a_gateway_that_stops() {
    let mut scene = Scene::set("127.0.0.1").await;
    let mut sockets = Vec::new();
    for number in 1..=16 {
        // The proxy keeps the connection of this request for the next one.
        assert_eq!(http::get_from(visitor(number), &scene.outer, "/api/me", &[]).await.status, 401);
        sockets.push((join(number, &scene.outer).await.0, BoardMirrors::default()));
    }
    let connected = |scene: &Scene, at: usize| scene.gateways[at].metric("toteboard_gateway_connections");
    let before = [0, 1].map(|at| connected(&scene, at));
    assert!(before.iter().all(|&clients| clients >= 2.0), "{before:?}");
    scene.gateways[0].stop();
    until("one client is sent away", async || connected(&scene, 0) < before[0]).await;
    let mut refused = 0;
    for number in 17..=32 {
        let (client, times) = join(number, &scene.outer).await;
        sockets.push((client, BoardMirrors::default()));
        refused += times;
    }
    // Once for a connection that the proxy had kept.
    assert!(refused <= 2, "{refused}");
    assert_eq!(connected(&scene, 1), before[1] + 16.0);
    scene.step().await;
    let mut served = 0;
    for (client, mirrors) in &mut sockets {
        while !scene.is_shown_by(mirrors) {
            match timeout(DEADLINE, client.next()).await.unwrap() {
                Ok(ServerMessage::Event { name, payload }) => drop(mirrors.take(&name, &payload)),
                Ok(ServerMessage::Answer { .. }) => {}
                Err(_) => break,
            }
        }
        served += usize::from(scene.is_shown_by(mirrors));
    }
    assert_eq!(served, 31);
}

/// The program that checks the protocol. It connects from several addresses, so that it meets both gateways.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Caddy"]
async fn behind_a_proxy_the_protocol_is_the_same() {
    let scene = Scene::set("127.0.0.1").await;
    let (kafka, writing) = (scene._stage.kafka(), CancellationToken::new());
    let mut authors = JoinSet::new();
    for region in Region::ALL.into_iter().filter(|region| *region != REGION) {
        let author = Author::start(&kafka, region).await;
        authors.spawn(keep_writing(author, writing.clone()));
    }
    let outer = scene.outer.clone();
    authors.spawn(keep_writing(scene.author, writing.clone()));
    let mut check = Command::new("node");
    check.arg(crate::examples::checkout().join("dev/conformance/check.mjs"));
    let from: Vec<String> = (1..=8).map(|number| visitor(number).to_string()).collect();
    check.args(["--url", &format!("http://{outer}"), "--token", TOKEN, "--without=history", "--without=alerts"]);
    check.arg(format!("--from={}", from.join(",")));
    let checked = timeout(5 * DEADLINE, check.kill_on_drop(true).output()).await.unwrap().unwrap();
    let lines = String::from_utf8_lossy(&checked.stdout);
    println!("{lines}");
    assert!(checked.status.success(), "{lines}{}", String::from_utf8_lossy(&checked.stderr));
    let sent = [0, 1].map(|at| scene.gateways[at].metric("toteboard_gateway_frames_total{region=\"uk\"}"));
    assert!(sent.iter().all(|&frames| frames > 0.0), "both gateways send frames: {sent:?}");
    writing.cancel();
    authors.join_all().await;
}

/// Writes a board and changes it until it is told to stop.
async fn keep_writing(mut author: Author, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(9);
    author.step(draw_board(&mut random, 60)).await;
    while timeout(Duration::from_millis(300), stop.cancelled()).await.is_err() {
        author.step(draw_changes(&mut random, 8)).await;
    }
}

/// A gateway and the proxy each serve the page, to those who have no proxy and to those who have one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Caddy"]
async fn the_proxy_serves_the_page_as_a_gateway_does() {
    const SAME: [&str; 8] = [
        "cache-control",
        "content-security-policy",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
        "permissions-policy",
        "referrer-policy",
        "x-content-type-options",
        "x-frame-options",
    ];
    let page = tempfile::tempdir().unwrap();
    std::fs::write(page.path().join("index.html"), "<p>the page</p>").unwrap();
    std::fs::create_dir(page.path().join("assets")).unwrap();
    std::fs::write(page.path().join("assets/app-1.js"), "the code").unwrap();
    let folder = page.path().to_str().unwrap();
    let stage = Stage::set().await;
    let gateway = stage.starting("one", &[&format!("--page={folder}")]).await;
    let port = free_port().await;
    let config = crate::examples::checkout().join("deploy/web/Caddyfile");
    let number = port.to_string();
    let _proxy =
        Caddy::start(&config, &[("TOTEBOARD_WEB_PORT", number.as_str()), ("TOTEBOARD_PAGE", folder)], port).await;
    let proxy = format!("127.0.0.1:{port}");
    for path in ["/", "/alerts", "/event/an-event", "/settings", "/assets/app-1.js"] {
        let [ours, theirs] = [http::get(&gateway.address, path, &[]).await, http::get(&proxy, path, &[]).await];
        assert_eq!((ours.status, theirs.status), (200, 200), "{path}");
        assert_eq!(ours.body, theirs.body, "{path}");
        for name in SAME {
            assert!(ours.headers.contains_key(name), "{path}: {name}");
            assert_eq!(ours.headers.get(name), theirs.headers.get(name), "{path}: {name}");
        }
    }
}
