//! A bucket for backups, and a collector of traces.

#[path = "../../../backup/tests/it/store.rs"]
#[expect(dead_code, reason = "the tests of backups ask more of it")]
mod store;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use store::Store;

/// Both, until it is dropped.
pub struct Beside {
    runtime: Runtime,
    store: Store,
    pub bucket: SocketAddr,
    collector: Collector,
    pub traces: SocketAddr,
}

/// All that was exported, as text.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<String>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        *self.0.lock().unwrap() += &format!("{:?}\n{:?}\n", request.metadata(), request.get_ref());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Beside {
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let collector = Collector::default();
        let served = collector.clone();
        let (store, bucket, traces) = runtime.block_on(async move {
            let (store, bucket) = Store::start().await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let traces = listener.local_addr().unwrap();
            let serve = Server::builder().add_service(TraceServiceServer::new(served));
            tokio::spawn(serve.serve_with_incoming(TcpListenerStream::new(listener)));
            (store, bucket, traces)
        });
        Self {
            runtime,
            store,
            bucket,
            collector,
            traces,
        }
    }

    /// The names of what is in the bucket.
    pub fn stored(&self) -> Vec<String> {
        self.runtime.block_on(self.store.names())
    }

    /// The bucket answers nobody any more.
    pub fn refuse(&self) {
        self.store.fail_every(1);
    }

    /// What the collector was told.
    pub fn exported(&self) -> String {
        self.collector.0.lock().unwrap().clone()
    }
}
