//! A receiver on loopback that answers as it is told.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::task::AbortOnDropHandle;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a request is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// Nothing, ever.
    Silence,
    /// The connection is closed.
    Drop,
}

impl Reply {
    pub fn ok() -> Self {
        Self::Status(204, Vec::new())
    }

    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new())
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Got {
    pub id: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What it was answered.
    pub status: u16,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

type Answer = dyn Fn(&str, usize) -> Reply + Send + Sync;

struct Inner {
    /// Told the id and how often that came before.
    answer: Mutex<Arc<Answer>>,
    got: watch::Sender<Vec<Got>>,
    times: Mutex<HashMap<String, usize>>,
}

/// The receiver, until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    _task: AbortOnDropHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            answer: Mutex::new(Arc::new(|_, _| Reply::ok())),
            got: watch::Sender::new(Vec::new()),
            times: Mutex::default(),
        });
        let serving = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let inner = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&inner), request));
                    // A connection may end as it likes.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            inner,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks?of=test", self.address)
    }

    /// From now on requests are answered so, by their id and how often that came before.
    pub fn answers(&self, answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) {
        *self.inner.answer.lock() = Arc::new(answer);
    }

    /// Everything that came.
    pub fn got(&self) -> Vec<Got> {
        self.inner.got.borrow().clone()
    }

    /// Waits until what came is enough.
    #[track_caller]
    pub fn until(&self, enough: impl Fn(&[Got]) -> bool) -> impl Future<Output = Vec<Got>> {
        let mut got = self.inner.got.subscribe();
        let place = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            let waiting = tokio::time::timeout(PATIENCE, got.wait_for(|got| enough(got))).await;
            let found = waiting.map(|found| found.unwrap().clone());
            found.unwrap_or_else(|_| panic!("{place}: nothing came in {:?}", begun.elapsed()))
        }
    }
}

async fn answer(
    inner: Arc<Inner>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let id = head.headers["webhook-id"].to_str().unwrap().to_owned();
    let before = {
        let mut times = inner.times.lock();
        let times = times.entry(id.clone()).or_default();
        *times += 1;
        *times - 1
    };
    let reply = (inner.answer.lock().clone())(&id, before);
    let status = match &reply {
        Reply::Status(status, _) => *status,
        Reply::Silence | Reply::Drop => 0,
    };
    inner.got.send_modify(|got| {
        got.push(Got {
            id,
            headers: head.headers,
            body,
            status,
        });
    });
    match reply {
        Reply::Status(status, headers) => {
            let mut answer = Response::builder().status(status);
            for (name, value) in headers {
                answer = answer.header(name, value);
            }
            Ok(answer.body(Full::default()).unwrap())
        }
        Reply::Silence => Ok(std::future::pending::<Result<_, Infallible>>().await.unwrap()),
        Reply::Drop => Err(std::io::Error::other("dropped")),
    }
}
