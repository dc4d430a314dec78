//! A mail server that can be told to misbehave. It notes what it has accepted.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// What it does with the next e-mails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Good,
    /// Answers with this to a recipient.
    Refuses(&'static str),
    /// Accepts the e-mail, and closes the connection instead of saying so.
    CutsAfterTheDot,
    /// Says half of an answer, and closes the connection.
    SaysHalf,
    /// Closes each connection at once.
    Closes,
    /// Accepts the e-mail, and says so only after this time.
    Late(Duration),
    /// Refuses the e-mail when it has read it.
    RefusesAfterTheDot(&'static str),
}

#[derive(Clone)]
pub struct MailServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    mood: Mood,
    /// Whether it is in a good mood again after this e-mail.
    once: bool,
    /// What was accepted, by Message-ID.
    accepted: BTreeMap<String, Vec<String>>,
}

impl MailServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { mood: Mood::Good, once: false, accepted: BTreeMap::new() };
        let server = Self { address, state: Arc::new(Mutex::new(state)) };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = serving.clone();
                tokio::spawn(async move { drop(server.serve(stream).await) });
            }
        });
        server
    }

    pub fn is(&self, mood: Mood, once: bool) {
        let mut state = self.state.lock().unwrap();
        (state.mood, state.once) = (mood, once);
    }

    /// The copies of each e-mail, by Message-ID.
    pub fn accepted(&self) -> BTreeMap<String, Vec<String>> {
        self.state.lock().unwrap().accepted.clone()
    }

    fn mood(&self) -> Mood {
        self.state.lock().unwrap().mood
    }

    fn accept(&self, email: String) {
        let mut state = self.state.lock().unwrap();
        let id = email.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap().to_owned();
        state.accepted.entry(id).or_default().push(email);
        if state.once {
            state.mood = Mood::Good;
        }
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        if self.mood() == Mood::Closes {
            return Ok(());
        }
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mail.example.com ready\r\n").await?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let command = line.split(|it: char| !it.is_ascii_alphabetic()).next().unwrap().to_uppercase();
            let answer = match (command.as_str(), self.mood()) {
                ("EHLO", _) => "250-mail.example.com\r\n250 8BITMIME",
                ("RCPT", Mood::Refuses(answer)) => answer,
                ("DATA", _) => "354 go on",
                ("QUIT", _) => "221 bye",
                _ => "250 ok",
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
            if command == "DATA" {
                let mut email = String::new();
                while !email.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut email).await? == 0 {
                        return Ok(());
                    }
                }
                let mood = self.mood();
                if mood == Mood::SaysHalf {
                    // It has not accepted it.
                    return stream.write_all(b"25").await;
                }
                if let Mood::RefusesAfterTheDot(answer) = mood {
                    stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
                    continue;
                }
                self.accept(email);
                if mood == Mood::CutsAfterTheDot {
                    return Ok(());
                }
                if let Mood::Late(time) = mood {
                    tokio::time::sleep(time).await;
                }
                stream.write_all(b"250 2.0.0 accepted\r\n").await?;
            }
        }
    }
}
