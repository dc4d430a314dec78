//! A browser: keeps cookies and sends an origin.

use client::{BoardMirrors, Client, ClientError, MirrorUpdate, ServerMessage};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    http::{self, Answer},
    stage::DEADLINE,
};

#[derive(Clone, Debug)]
pub struct Browser {
    pub address: String,
    /// `name=value`, as the server set it.
    pub cookie: Option<String>,
    pub origin: Option<String>,
    /// The address that a trusted proxy forwards.
    pub behind: Option<String>,
}

impl Browser {
    /// A browser with our own page open.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), cookie: None, origin: Some(format!("http://{address}")), behind: None }
    }

    pub fn at(mut self, address: &str) -> Self {
        self.behind = Some(address.to_owned());
        self
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let cookie = self.cookie.as_deref().map(|cookie| ("cookie", cookie));
        let origin = self.origin.as_deref().map(|origin| ("origin", origin));
        let behind = self.behind.as_deref().map(|address| ("x-forwarded-for", address));
        [cookie, origin, behind].into_iter().flatten().collect()
    }

    pub async fn ask(&mut self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (name, value) in self.headers() {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or_default());
        let answer = http::send(&self.address, request.as_bytes()).await;
        if let Some(set) = answer.headers.get("set-cookie") {
            let (pair, _) = set.split_once(';').unwrap();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        answer
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(&body.to_string())).await
    }

    pub async fn put(&mut self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, Some(&body.to_string())).await
    }

    pub async fn delete(&mut self, path: &str) -> Answer {
        self.ask("DELETE", path, None).await
    }

    /// Registers with a good password.
    pub async fn register(&mut self, name: &str) {
        let answer = self.post("/api/register", &json!({ "name": name, "password": PASSWORD })).await;
        assert_eq!(answer.status, 201, "{:?}", String::from_utf8_lossy(&answer.body));
    }

    pub async fn sign_in(&mut self, name: &str, password: &str) -> Answer {
        self.post("/api/login", &json!({ "name": name, "password": password })).await
    }

    pub async fn make_token(&mut self, name: &str) -> (String, String) {
        let made = self.post("/api/tokens", &json!({ "name": name, "password": PASSWORD })).await;
        assert_eq!(made.status, 201);
        let made = made.json();
        (made["id"].as_str().unwrap().to_owned(), made["token"].as_str().unwrap().to_owned())
    }

    /// Opens the page's socket, at the gateway of this address if given.
    pub async fn socket(&self, address: Option<&str>) -> Result<Socket, ClientError> {
        self.socket_with(address, json!({})).await
    }

    pub async fn socket_with(&self, address: Option<&str>, auth: Value) -> Result<Socket, ClientError> {
        let address = address.unwrap_or(&self.address);
        let stream = TcpStream::connect(address).await?;
        let client = Client::connect_with(stream, address, &self.headers(), &auth).await?;
        Ok(Socket { client, mirrors: BoardMirrors::default() })
    }
}

pub const PASSWORD: &str = "seven wet badgers";

/// A connection that mirrors the boards it receives.
pub struct Socket {
    pub client: Client,
    pub mirrors: BoardMirrors,
}

impl Socket {
    pub async fn with_token(address: &str, token: &str) -> Result<Self, ClientError> {
        let client = Client::connect(address, &json!({ "token": token })).await?;
        Ok(Self { client, mirrors: BoardMirrors::default() })
    }

    /// Waits until the socket's regions are these.
    pub async fn comes_to(&mut self, regions: &[&str]) {
        let keys = |mirrors: &BoardMirrors| mirrors.regions.iter().map(|region| region.key()).collect::<Vec<_>>();
        let coming = async {
            loop {
                if let ServerMessage::Event { name, payload } = self.client.next().await.unwrap()
                    && self.mirrors.take(&name, &payload) == MirrorUpdate::Regions
                    && keys(&self.mirrors) == regions
                {
                    return;
                }
            }
        };
        timeout(DEADLINE, coming).await.unwrap_or_else(|_| panic!("{regions:?} never came"));
    }

    /// Waits until the connection ends, and returns the code of its `bye`.
    pub async fn ends(&mut self) -> Option<String> {
        let ending = async {
            let mut code = None;
            loop {
                match self.client.next().await {
                    Ok(ServerMessage::Event { name, payload }) if name == "bye" => {
                        let bye: Value = serde_json::from_str(&payload).unwrap();
                        code = bye["code"].as_str().map(str::to_owned);
                    }
                    Ok(_) => {}
                    Err(_) => return code,
                }
            }
        };
        timeout(DEADLINE, ending).await.expect("the connection ends")
    }

    /// Checks that the connection still answers.
    pub async fn is_alive(&mut self) {
        let number = self.client.ask("resync", &json!({ "region": "none" })).await.unwrap();
        let answered = async {
            loop {
                if let ServerMessage::Answer { number: answered, .. } = self.client.next().await.unwrap()
                    && answered == number
                {
                    return;
                }
            }
        };
        timeout(DEADLINE, answered).await.expect("it answers");
    }
}

pub fn refusal(joined: Result<Socket, ClientError>) -> String {
    match joined {
        Err(ClientError::Refused(text)) => text.split(':').next().unwrap().to_owned(),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was let in"),
    }
}
