//! A collector that counts what it is sent and keeps nothing, for measurements: says where it serves, and, when its input ends, how many spans have come.
//!
//! It shares the machine with what is measured, so it does no more than it must: spans are stepped over, not decoded.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::{
    Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use tokio::{
    io::{AsyncReadExt as _, stdin},
    net::TcpListener,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};
use tower_service::Service;

/// Of a request, of what is of one resource in it, and of what is of one scope in that: the field with the next inner one.
const RESOURCE_SPANS: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SPANS: u32 = 2;

/// How many spans there are behind these fields, one within the other.
fn count(mut data: Bytes, path: &[u32]) -> Result<u64, Status> {
    let bad = |cause: prost::DecodeError| Status::invalid_argument(cause.to_string());
    let Some((wanted, inner)) = path.split_first() else {
        return Ok(1);
    };
    let mut spans = 0;
    while data.has_remaining() {
        let (field, wire_type) = decode_key(&mut data).map_err(bad)?;
        if field != *wanted || wire_type != WireType::LengthDelimited {
            skip_field(wire_type, field, &mut data, DecodeContext::default()).map_err(bad)?;
            continue;
        }
        let length = decode_varint(&mut data).map_err(bad)?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= data.len());
        let length =
            length.ok_or_else(|| Status::invalid_argument("a message is longer than what holds it"))?;
        spans += count(data.split_to(length), inner)?;
    }
    Ok(spans)
}

/// A request is how many spans it has.
#[derive(Default)]
struct Counted;

impl Codec for Counted {
    type Encode = ExportTraceServiceResponse;
    type Decode = u64;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for Counted {
    type Item = u64;
    type Error = Status;

    fn decode(&mut self, data: &mut DecodeBuf<'_>) -> Result<Option<u64>, Status> {
        let data = data.copy_to_bytes(data.remaining());
        count(data, &[RESOURCE_SPANS, SCOPE_SPANS, SPANS]).map(Some)
    }
}

impl Encoder for Counted {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn encode(&mut self, item: ExportTraceServiceResponse, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to)
            .map_err(|cause| Status::internal(cause.to_string()))
    }
}

#[derive(Clone, Default)]
struct Counting(Arc<AtomicU64>);

impl UnaryService<u64> for Counting {
    type Response = ExportTraceServiceResponse;
    type Future = Ready<Result<Response<Self::Response>, Status>>;

    fn call(&mut self, spans: Request<u64>) -> Self::Future {
        self.0.fetch_add(spans.into_inner(), Relaxed);
        ready(Ok(Response::new(ExportTraceServiceResponse::default())))
    }
}

impl NamedService for Counting {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Counting {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// It has one method.
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let counting = self.clone();
        Box::pin(async move { Ok(Grpc::new(Counted).unary(counting, request).await) })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let counting = Counting::default();
    let ended = async {
        let mut input = Vec::new();
        // Also where it cannot be read any more.
        let _ = stdin().read_to_end(&mut input).await;
    };
    Server::builder()
        .add_service(counting.clone())
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), ended)
        .await
        .map_err(io::Error::other)?;
    println!("{}", counting.0.load(Relaxed));
    Ok(())
}
