//! A client of REST that is as plain as can be: a request's text, and what came.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::support::Running;

/// Longer than anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    /// Of all that came.
    pub fn of(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        let headers: HashMap<String, String> = headers.collect();
        let chunked = headers
            .get("transfer-encoding")
            .is_some_and(|kind| kind == "chunked");
        let body = if chunked { unchunked(body) } else { body.to_owned() };
        Self {
            status,
            headers,
            body,
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status, and `ErrorInfo.reason`.
    pub fn refusal(&self) -> (u16, String) {
        assert_eq!(self.headers["content-type"], "application/json");
        (
            self.status,
            detail(&self.json(), "ErrorInfo")["reason"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    }

    /// The fields that are wrong.
    pub fn fields(&self) -> Vec<String> {
        let told = self.json();
        let violations = detail(&told, "BadRequest")["fieldViolations"].as_array().unwrap();
        violations
            .iter()
            .map(|violation| violation["field"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole.push_str(&rest[..length]);
        body = rest[length..].strip_prefix("\r\n").unwrap();
    }
    whole
}

/// The detail of this kind of a refusal.
pub fn detail<'a>(refusal: &'a Value, kind: &str) -> &'a Value {
    let kind = format!("type.googleapis.com/google.rpc.{kind}");
    let mut details = refusal["details"].as_array().unwrap().iter();
    details
        .find(|detail| detail["@type"] == json!(kind))
        .unwrap_or_else(|| panic!("{kind}: {refusal}"))
}

/// A request's text, of this account.
pub fn request(account: &str, asked: &str, headers: &str, body: &str) -> String {
    let kind = if body.is_empty() {
        ""
    } else {
        "content-type: application/json\r\n"
    };
    let key = if account.is_empty() {
        String::new()
    } else {
        format!("x-api-key: {account}\r\n")
    };
    format!(
        "{asked} HTTP/1.1\r\nhost: docket\r\nconnection: close\r\n{kind}{key}{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Asks, and waits for all of the answer.
pub async fn ask_with(server: &Running, account: &str, asked: &str, headers: &str, body: &str) -> Answer {
    ask_at(server.rest.unwrap(), account, asked, headers, body).await
}

/// The same, where this is.
pub async fn ask_at(at: SocketAddr, account: &str, asked: &str, headers: &str, body: &str) -> Answer {
    let mut tcp = TcpStream::connect(at).await.unwrap();
    // What is refused may be answered before it has been sent.
    let _ = tcp
        .write_all(request(account, asked, headers, body).as_bytes())
        .await;
    let mut answer = String::new();
    let read = timeout(PATIENCE, tcp.read_to_string(&mut answer))
        .await
        .expect("an answer in time");
    if answer.is_empty() {
        read.unwrap();
    }
    Answer::of(&answer)
}

pub async fn ask(server: &Running, account: &str, asked: &str, body: &Value) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    ask_with(server, account, asked, "", &body).await
}

pub async fn get(server: &Running, account: &str, path: &str) -> Answer {
    ask(server, account, &format!("GET {path}"), &Value::Null).await
}

/// A watch over REST.
pub struct Watch(BufReader<TcpStream>);

impl Watch {
    pub async fn begin(server: &Running, account: &str, query: &str, headers: &str) -> Self {
        let mut tcp = TcpStream::connect(server.rest.unwrap()).await.unwrap();
        let asked = format!("GET /v1/orders:watch?{query}");
        tcp.write_all(request(account, &asked, headers, "").as_bytes())
            .await
            .unwrap();
        let mut watch = Self(BufReader::new(tcp));
        assert_eq!(watch.line().await, "HTTP/1.1 200 OK");
        while !watch.line().await.is_empty() {}
        watch
    }

    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line))
            .await
            .expect("a line in time");
        assert!(read.unwrap() > 0, "the stream has ended");
        line.trim_end().to_owned()
    }

    /// The next line that begins so, without that.
    pub async fn next(&mut self, begin: &str) -> String {
        loop {
            if let Some(rest) = self.line().await.strip_prefix(begin) {
                return rest.to_owned();
            }
        }
    }
}
