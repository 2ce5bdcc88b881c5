//! A receiver on loopback, as plain as one can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use crate::server::{LOOK_AGAIN, PATIENCE};

/// A request that came.
#[derive(Clone, Debug)]
pub struct Got {
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// It, as long as the process lives.
pub struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    /// One that refuses every so many requests, where that is not 0.
    pub fn start(refuses_every: usize) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), refuses_every)
    }

    /// The same, where it is to listen.
    pub fn at(listener: TcpListener, refuses_every: usize) -> Self {
        let address = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let into = Arc::clone(&got);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, into) = (stream.unwrap(), Arc::clone(&into));
                thread::spawn(move || answer(&stream, &into, refuses_every));
            }
        });
        Self { address, got }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// What came, by what is sent as `webhook-id`.
    pub fn ids(&self) -> BTreeSet<String> {
        let got = self.got();
        got.iter().map(|got| got.headers["webhook-id"].clone()).collect()
    }

    /// Waits until all of this has come.
    pub async fn until(&self, expected: &BTreeSet<String>) {
        let begun = Instant::now();
        loop {
            let missing: Vec<_> = expected.difference(&self.ids()).cloned().collect();
            if missing.is_empty() {
                return;
            }
            assert!(
                begun.elapsed() < 2 * PATIENCE,
                "{} of {} changes were not delivered: {missing:?}",
                missing.len(),
                expected.len()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Answers the requests of one connection; whoever closes it may.
fn answer(stream: &TcpStream, got: &Mutex<Vec<Got>>, refuses_every: usize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let refuses = {
            let mut got = got.lock().unwrap();
            got.push(Got { headers, body });
            refuses_every > 0 && got.len().is_multiple_of(refuses_every)
        };
        let status = if refuses {
            "500 Internal Server Error"
        } else {
            "204 No Content"
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        (&*stream).write_all(answer.as_bytes()).ok()?;
    }
}
