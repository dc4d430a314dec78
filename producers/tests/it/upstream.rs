//! An HTTP server that sends a set response and records its requests, and what is read from it as text.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode},
};
use producers::{Answer, ApiKey, TheOddsApi};
use tokio::net::TcpListener;

pub const KEY: &str = "k3y-that-nobody-may-see";

#[derive(Clone)]
pub struct Upstream {
    inner: Arc<Mutex<Inner>>,
    pub url: String,
}

struct Inner {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    /// A path that is answered with another body.
    elsewhere: Option<(&'static str, String)>,
    /// Breaks the connection after the body.
    cut_off: bool,
    asked: Vec<(String, HeaderMap)>,
}

impl Upstream {
    pub async fn start() -> Self {
        service::install_tls_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Inner {
            status: 200,
            headers: Vec::new(),
            body: "[]".into(),
            elsewhere: None,
            cut_off: false,
            asked: Vec::new(),
        };
        let this = Self { inner: Arc::new(Mutex::new(inner)), url };
        let router = Router::new().fallback(answer).with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    pub fn answers(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.status = status;
        inner.headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        inner.body = body.to_owned();
    }

    pub fn answers_at(&self, path: &'static str, body: &str) {
        self.inner.lock().unwrap().elsewhere = Some((path, body.to_owned()));
    }

    pub fn cuts_off(&self) {
        self.inner.lock().unwrap().cut_off = true;
    }

    /// Returns the path with query and the headers of every request.
    pub fn asked(&self) -> Vec<(String, HeaderMap)> {
        self.inner.lock().unwrap().asked.clone()
    }

    pub fn client(&self) -> TheOddsApi {
        TheOddsApi::new("test", self.url.parse().unwrap(), ApiKey::new(KEY.into())).unwrap()
    }
}

async fn answer(State(upstream): State<Upstream>, request: Request) -> Response<Body> {
    let mut inner = upstream.inner.lock().unwrap();
    inner.asked.push((request.uri().to_string(), request.headers().clone()));
    let mut response = Response::builder().status(StatusCode::from_u16(inner.status).unwrap());
    for (name, value) in &inner.headers {
        response = response.header(*name, value);
    }
    let elsewhere = inner.elsewhere.as_ref().filter(|(path, _)| request.uri().path() == *path);
    let body = elsewhere.map_or_else(|| inner.body.clone(), |(_, body)| body.clone());
    if inner.cut_off {
        let broken = std::io::Error::other("cut off");
        let chunks = futures::stream::iter([Ok(axum::body::Bytes::from(body)), Err(broken)]);
        return response.body(Body::from_stream(chunks)).unwrap();
    }
    response.body(Body::from(body)).unwrap()
}

/// The quotes of an answer.
pub fn texts(answer: &Answer) -> Vec<String> {
    let mut texts = Vec::new();
    for (id, image) in &answer.events {
        for ((bookmaker, market), quote) in &image.quotes {
            texts.push(format!("{id} {bookmaker} {market} {} {}", quote.last_update, quote.outcomes.as_json()));
        }
    }
    texts
}
