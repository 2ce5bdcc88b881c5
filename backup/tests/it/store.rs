//! A store that knows what is needed of S3, in memory: PUT, GET and DELETE of an object, lists in pages of three. It answers 503 now and then, and
//! 403 to whoever does not sign.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use docket_backup::{Bucket, BucketOptions};
use secrecy::SecretString;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

/// Keys of one page.
const PAGE: usize = 3;

/// The store.
#[derive(Clone, Default)]
pub struct Store {
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<AtomicU64>,
    /// Every so many-th request is answered 503; 0: none.
    failing: Arc<AtomicU64>,
}

impl Store {
    /// Starts one.
    pub async fn start() -> (Self, SocketAddr) {
        let store = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = store.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let store = serving.clone();
                tokio::spawn(async move { store.serve(tcp).await });
            }
        });
        (store, address)
    }

    pub fn fail_every(&self, number: u64) {
        self.failing.store(number, SeqCst);
    }

    pub async fn names(&self) -> Vec<String> {
        self.objects.lock().await.keys().cloned().collect()
    }

    /// Changes one.
    pub async fn flip_a_bit(&self, name: &str) {
        let mut objects = self.objects.lock().await;
        let object = objects.get_mut(name).unwrap();
        let at = object.len() / 2;
        object[at] ^= 1;
    }

    async fn serve(&self, mut tcp: TcpStream) {
        let (reader, mut writer) = tcp.split();
        let mut reader = BufReader::new(reader);
        loop {
            let mut head = Vec::new();
            let mut line = String::new();
            loop {
                line.clear();
                if reader.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                match line.trim_end() {
                    "" => break,
                    line => head.push(line.to_owned()),
                }
            }
            let header = |name: &str| {
                let mut lines = head.iter().filter_map(|line| line.split_once(':'));
                let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.trim().to_owned())
            };
            let length = header("content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).await.unwrap();
            let mut words = head[0].split(' ');
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            let signed = header("authorization").unwrap_or_default();
            let is_signed = signed.starts_with("AWS4-HMAC-SHA256 Credential=key/")
                && (signed.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date,")
                    || signed.contains(
                        "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,",
                    ));
            let number = self.asked.fetch_add(1, SeqCst) + 1;
            let failing = self.failing.load(SeqCst);
            let (status, body) = match is_signed {
                false => (
                    "403 Forbidden",
                    b"<Code>AccessDenied</Code><Message>no</Message>".to_vec(),
                ),
                true if failing > 0 && number.is_multiple_of(failing) => {
                    ("503 Service Unavailable", b"<Code>SlowDown</Code>".to_vec())
                }
                true => self.answer(method, target, body).await,
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
            if writer.write_all(head.as_bytes()).await.is_err() || writer.write_all(&body).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, method: &str, target: &str, body: Vec<u8>) -> (&'static str, Vec<u8>) {
        let mut objects = self.objects.lock().await;
        let Some(rest) = target.strip_prefix("/backups") else {
            return ("404 Not Found", b"<Code>NoSuchBucket</Code>".to_vec());
        };
        if let Some(query) = rest.strip_prefix('?') {
            let value = |name: &str| {
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs
                    .into_iter()
                    .find(|(found, _)| *found == name)
                    .map(|(_, value)| value.replace("%2F", "/"))
            };
            let prefix = value("prefix").unwrap();
            let from = value("continuation-token").unwrap_or_default();
            let found: Vec<_> = objects
                .keys()
                .filter(|name| name.starts_with(&prefix) && **name > from)
                .collect();
            let shown = &found[..found.len().min(PAGE)];
            let keys: String = shown
                .iter()
                .map(|name| format!("<Contents><Key>{name}</Key></Contents>"))
                .collect();
            let more = match found.len() > PAGE {
                true => format!(
                    "<NextContinuationToken>{}</NextContinuationToken>",
                    shown[PAGE - 1]
                ),
                false => String::new(),
            };
            let cut = found.len() > PAGE;
            let list =
                format!("<ListBucketResult>{keys}<IsTruncated>{cut}</IsTruncated>{more}</ListBucketResult>");
            return ("200 OK", list.into_bytes());
        }
        let name = rest.trim_start_matches('/').to_owned();
        match method {
            "PUT" => {
                objects.insert(name, body);
                ("200 OK", Vec::new())
            }
            "GET" => match objects.get(&name) {
                Some(object) => ("200 OK", object.clone()),
                None => ("404 Not Found", b"<Code>NoSuchKey</Code>".to_vec()),
            },
            "DELETE" => {
                objects.remove(&name);
                ("204 No Content", Vec::new())
            }
            _ => ("405 Method Not Allowed", Vec::new()),
        }
    }
}

/// A part of the store's bucket, as this key's owner reaches it.
pub fn bucket(address: SocketAddr, name: &str, access_key: &str) -> Bucket {
    let options = BucketOptions {
        endpoint: format!("http://{address}"),
        region: "us-east-1".to_owned(),
        bucket: name.to_owned(),
        prefix: "shop/eu".to_owned(),
        access_key: access_key.to_owned(),
        secret_key: SecretString::from("secret"),
        session_token: None,
        ca: None,
    };
    Bucket::new(options).unwrap()
}
