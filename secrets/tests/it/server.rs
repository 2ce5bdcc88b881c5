//! A server that speaks as much of Vault's API as is asked of it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use docket_secrets::vault::{Login, VaultOptions};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::reference;

/// What it is told to be.
#[derive(Default)]
pub struct State {
    /// Secrets by `MOUNT/PATH`.
    pub secrets: BTreeMap<String, Value>,
    /// Tokens that it accepts.
    pub tokens: Vec<String>,
    /// Secrets that no token opens.
    pub closed: Vec<String>,
    /// How long tokens last that it gives or renews, in seconds; 0 for ever.
    pub ttl: u64,
    /// Whether they can be renewed.
    pub renewable: bool,
    /// What a service account has to show.
    pub jwt: String,
    /// Answers nobody, and how often it did not.
    pub down: bool,
    pub unanswered: usize,
    /// What was asked, `METHOD path`, with the token that was shown.
    pub asked: Vec<(String, String)>,
}

pub struct Server {
    pub address: SocketAddr,
    pub encrypted: bool,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub async fn start(state: State, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            encrypted: tls.is_some(),
            state: Arc::new(Mutex::new(state)),
        };
        let state = Arc::clone(&server.state);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (state, tls) = (Arc::clone(&state), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            // Whoever does not trust it goes away.
                            if let Ok(encrypted) = tls.accept(tcp).await {
                                answer(encrypted, &state).await;
                            }
                        }
                        None => answer(tcp, &state).await,
                    }
                });
            }
        });
        server
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How often this was asked.
    pub fn count(&self, asked: &str) -> usize {
        self.state().asked.iter().filter(|(it, _)| it == asked).count()
    }

    pub fn options(&self, login: Login) -> VaultOptions {
        let scheme = if self.encrypted { "https" } else { "http" };
        VaultOptions {
            address: format!("{scheme}://localhost:{}", self.address.port()),
            allow_http: false,
            ca_file: None,
            namespace: None,
            login,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A login with a token that is in a file.
pub fn token_in(path: &std::path::Path) -> Login {
    Login::Token(reference(&format!("file:{}", path.display())))
}

/// One request of a connection, and its reply.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &Mutex<State>) {
    let mut bytes = Vec::new();
    let head = loop {
        let mut chunk = [0; 4_096];
        let Ok(read @ 1..) = stream.read(&mut chunk).await else {
            return;
        };
        bytes.extend_from_slice(&chunk[..read]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let header = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + length {
        let mut chunk = [0; 4_096];
        let read = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..read]);
    }
    let body: Value = serde_json::from_slice(&bytes[head..]).unwrap_or_default();
    let line: Vec<&str> = text.split_whitespace().take(2).collect();
    let token = header("x-vault-token").unwrap_or_default();
    let reply = {
        let mut state = state.lock().unwrap();
        if state.down {
            state.unanswered += 1;
            return;
        }
        reply(&mut state, &line.join(" "), &token, &body)
    };
    let (status, reply) = reply;
    let reply = reply.to_string();
    let whole = format!(
        "HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{reply}",
        reply.len()
    );
    // Whoever asked may have gone.
    let _ = stream.write_all(whole.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn reply(state: &mut State, asked: &str, token: &str, body: &Value) -> (u16, Value) {
    state.asked.push((asked.to_owned(), token.to_owned()));
    let denied = (403, json!({ "errors": ["permission denied"] }));
    let auth = |state: &State, token: &str| {
        let (lease_duration, renewable) = (state.ttl, state.renewable);
        json!({ "auth": { "client_token": token, "lease_duration": lease_duration, "renewable": renewable } })
    };
    if asked == "POST /v1/auth/kubernetes/login" {
        if body["jwt"] != state.jwt.as_str() || body["role"] != "docket" {
            // As some server might, it repeats what it was shown.
            return (
                400,
                json!({ "errors": [format!("bad jwt {}", body["jwt"].as_str().unwrap())] }),
            );
        }
        let token = format!("token-{}", state.asked.len());
        state.tokens.push(token.clone());
        return (200, auth(state, &token));
    }
    if !state.tokens.iter().any(|known| known == token) {
        return denied;
    }
    match asked {
        "GET /v1/auth/token/lookup-self" => {
            let data = json!({ "ttl": state.ttl, "creation_ttl": state.ttl, "renewable": state.renewable });
            (200, json!({ "data": data }))
        }
        "POST /v1/auth/token/renew-self" if state.renewable => (200, auth(state, token)),
        "POST /v1/auth/token/renew-self" => (400, json!({ "errors": ["lease is not renewable"] })),
        read => {
            let path = read
                .strip_prefix("GET /v1/")
                .unwrap_or_default()
                .replacen("/data/", "/", 1);
            if state.closed.contains(&path) {
                return denied;
            }
            match state.secrets.get(&path) {
                Some(fields) => (
                    200,
                    json!({ "lease_duration": 0, "data": { "data": fields, "metadata": { "version": 1 } } }),
                ),
                None => (404, json!({ "errors": [] })),
            }
        }
    }
}
