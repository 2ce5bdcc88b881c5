//! Attacks with calls that a library can make.

use std::{future::poll_fn, io, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use docket_proto::v1::{ListItemsRequest, LoginRequest};
use h2::{
    Reason, SendStream,
    client::{Builder, SendRequest},
};
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::crew::Crew;

/// Calls of one connection.
const CALLS: usize = 100;
/// How long a call is held that does not end by itself.
const HELD: Duration = Duration::from_secs(60);
/// A byte of what comes slowly, each.
const DRIP: Duration = Duration::from_millis(500);
/// An answer that does not come by then is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Data of a huge message that are sent at once.
const PIECE_BYTES: usize = 64 * 1_024;
/// What a huge message says that it has.
const HUGE_BYTES: u32 = 1 << 30;
/// So much of it is really sent.
const HUGE_SENT_BYTES: usize = 8 * 1_024 * 1_024;
const LIST_ITEMS: &str = "/docket.v1.ItemService/ListItems";
const LOGIN: &str = "/docket.v1.AuthService/Login";

/// A connection, which is driven beside what is done on it.
async fn on_connection(
    crew: &Crew,
    number: usize,
    window: Option<u32>,
    work: impl AsyncFnOnce(SendRequest<Bytes>) -> io::Result<()>,
) -> io::Result<()> {
    let mut builder = Builder::new();
    if let Some(window) = window {
        builder.initial_window_size(window);
    }
    let stream = crew.grpc(number).await?;
    let (sender, connection) = builder.handshake(stream).await.map_err(broken)?;
    tokio::select! {
        done = work(sender) => done,
        ended = connection => ended.map_err(broken),
    }
}

fn broken(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        false => io::Error::other(error),
    }
}

fn head(path: &str, credential: (&str, &str), more: &[(&str, &str)]) -> io::Result<Request<()>> {
    let mut head = Request::post(format!("http://docket{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in [credential]
        .iter()
        .chain(more)
        .filter(|(_, value)| !value.is_empty())
    {
        head = head.header(*name, *value);
    }
    head.body(()).map_err(io::Error::other)
}

/// The message as gRPC sends it.
fn framed(message: &impl Message, compressed: bool) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(compressed.into());
    framed.put_u32(message.encoded_len() as u32);
    // A buffer that grows has room.
    let _ = message.encode(&mut framed);
    framed.freeze()
}

/// What the call came to.
async fn answered(crew: &Crew, answer: h2::client::ResponseFuture) {
    let taken = async {
        let mut answer: Response<h2::RecvStream> = answer.await?;
        if answer.headers().contains_key("grpc-status") || answer.status() != 200 {
            let (parts, _) = answer.into_parts();
            return Ok::<_, h2::Error>((parts.status, parts.headers));
        }
        while let Some(data) = answer.body_mut().data().await {
            let length = data?.len();
            let _ = answer.body_mut().flow_control().release_capacity(length);
        }
        let trailers = answer.body_mut().trailers().await?;
        Ok((answer.status(), trailers.unwrap_or_default()))
    };
    crew.notes.note(match timeout(ANSWER_MAX, taken).await {
        Ok(Ok((status, headers))) => status_of(status, &headers),
        Ok(Err(error)) => match error.reason() {
            Some(reason) => format!(
                "{} {reason:?}",
                if error.is_go_away() {
                    "GOAWAY"
                } else {
                    "RST_STREAM"
                }
            ),
            None => "cut".to_owned(),
        },
        Err(_elapsed) => "no answer".to_owned(),
    });
}

fn status_of(http: http::StatusCode, headers: &HeaderMap) -> String {
    let Some(status) = Status::from_header_map(headers) else {
        return format!("HTTP {}", http.as_u16());
    };
    let reason = status.get_details_error_info().map(|info| info.reason);
    reason.unwrap_or_else(|| format!("{:?}", status.code()))
}

/// A place for one more call on the connection.
async fn ready(sender: &mut SendRequest<Bytes>) -> io::Result<()> {
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(broken)
}

/// Calls whose requests come a byte at a time, and never to their end.
pub async fn slow_bodies(crew: &Crew, number: usize) -> io::Result<()> {
    on_connection(crew, number, None, async |mut sender| {
        let mut open: Vec<SendStream<Bytes>> = Vec::new();
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..CALLS {
            crew.work.turns(1).await;
            ready(&mut sender).await?;
            let head = head(LIST_ITEMS, ("x-api-key", crew.key(number)), &[])?;
            let (answer, mut body) = sender.send_request(head, false).map_err(broken)?;
            // That one of a megabyte is coming.
            let _ = body.send_data(Bytes::from_static(&[0, 0, 0x0f, 0xff, 0xff]), false);
            open.push(body);
            // Who is refused is told at once; the others are waited for by nobody.
            answers.spawn(timeout(HELD, answer));
        }
        let dripping = async {
            loop {
                sleep(DRIP).await;
                for body in &mut open {
                    let _ = body.send_data(Bytes::from_static(&[0]), false);
                }
                crew.notes.sent(CALLS);
            }
        };
        let ending = async {
            while let Some(answer) = answers.join_next().await {
                if let Ok(Ok(Ok(answer))) = answer {
                    crew.notes.note(status_of(answer.status(), answer.headers()));
                }
            }
        };
        tokio::select! {
            () = dripping => Ok(()),
            () = ending => Ok(()),
        }
    })
    .await
}

/// Calls whose answers are not taken: there is no window for them.
pub async fn unread_replies(crew: &Crew, number: usize) -> io::Result<()> {
    on_connection(crew, number, Some(0), async |mut sender| {
        let ask = framed(
            &ListItemsRequest {
                page_size: 1_000,
                ..Default::default()
            },
            false,
        );
        let mut held = Vec::new();
        for _ in 0..CALLS {
            crew.work.turns(1).await;
            ready(&mut sender).await?;
            let head = head(LIST_ITEMS, ("x-api-key", crew.key(number)), &[])?;
            let (answer, mut body) = sender.send_request(head, false).map_err(broken)?;
            body.send_data(ask.clone(), true).map_err(broken)?;
            crew.notes.sent(ask.len());
            match timeout(ANSWER_MAX, answer).await {
                Ok(Ok(answer)) if !answer.headers().contains_key("grpc-status") => {
                    crew.notes.note("answered, not taken");
                    held.push(answer);
                }
                Ok(Ok(answer)) => crew.notes.note(status_of(answer.status(), answer.headers())),
                Ok(Err(error)) => return Err(broken(error)),
                Err(_elapsed) => crew.notes.note("no answer"),
            }
        }
        sleep(HELD).await;
        Ok(())
    })
    .await
}

/// Logins with wrong passwords, of names that there are and of others.
pub async fn logins(crew: &Crew, number: usize) -> io::Result<()> {
    on_connection(crew, number, None, async |mut sender| {
        for turn in 0..CALLS {
            crew.work.turns(1).await;
            ready(&mut sender).await?;
            let (answer, mut body) = sender
                .send_request(head(LOGIN, ("", ""), &[])?, false)
                .map_err(broken)?;
            let name = match turn % 2 {
                0 => super::honest::SHOPPER.to_owned(),
                _ => format!("nobody-{number}-{turn}"),
            };
            let login = LoginRequest {
                username: name,
                password: format!("wrong horse battery {turn}"),
            };
            let login = framed(&login, false);
            crew.notes.sent(login.len());
            body.send_data(login, true).map_err(broken)?;
            answered(crew, answer).await;
        }
        Ok(())
    })
    .await
}

/// Calls with keys and tokens that do not hold.
pub async fn wrong_credentials(crew: &Crew, number: usize) -> io::Result<()> {
    on_connection(crew, number, None, async |mut sender| {
        let ask = framed(&ListItemsRequest::default(), false);
        for turn in 0..CALLS {
            crew.work.turns(1).await;
            ready(&mut sender).await?;
            let token = format!("Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ{number}x{turn}.c2ln");
            let credential = match turn % 2 {
                0 => ("authorization", token.as_str()),
                _ => ("x-api-key", "dk_0123456789abcdef"),
            };
            let (answer, mut body) = sender
                .send_request(head(LIST_ITEMS, credential, &[])?, false)
                .map_err(broken)?;
            body.send_data(ask.clone(), true).map_err(broken)?;
            crew.notes.sent(ask.len());
            answered(crew, answer).await;
        }
        Ok(())
    })
    .await
}

/// Messages that say they have a gigabyte, of which as much is sent as is taken.
pub async fn huge_messages(crew: &Crew, number: usize) -> io::Result<()> {
    on_connection(crew, number, None, async |mut sender| {
        ready(&mut sender).await?;
        let head = head(LIST_ITEMS, ("x-api-key", crew.key(number)), &[])?;
        let (answer, mut body) = sender.send_request(head, false).map_err(broken)?;
        let mut begin = BytesMut::new();
        begin.put_u8(0);
        begin.put_u32(HUGE_BYTES);
        let _ = body.send_data(begin.freeze(), false);
        let sending = async {
            let piece = Bytes::from(vec![0; PIECE_BYTES]);
            let mut sent = 0;
            while sent < HUGE_SENT_BYTES {
                crew.work.turns(1).await;
                body.reserve_capacity(PIECE_BYTES);
                match poll_fn(|cx| body.poll_capacity(cx)).await {
                    Some(Ok(room)) => {
                        let _ = body.send_data(piece.slice(..room.min(PIECE_BYTES)), false);
                        crew.notes.sent(room);
                        sent += room;
                    }
                    _ => return,
                }
            }
            body.send_reset(Reason::CANCEL);
        };
        tokio::join!(sending, answered(crew, answer));
        Ok(())
    })
    .await
}

/// Messages that say they are compressed: what unpacks them might be given a bomb.
pub async fn compressed(crew: &Crew, number: usize) -> io::Result<()> {
    on_connection(crew, number, None, async |mut sender| {
        let ask = framed(&ListItemsRequest::default(), true);
        for turn in 0..CALLS {
            crew.work.turns(1).await;
            ready(&mut sender).await?;
            let encoding = ["gzip", "deflate", "zstd", "br"][turn % 4];
            let head = head(
                LIST_ITEMS,
                ("x-api-key", crew.key(number)),
                &[("grpc-encoding", encoding)],
            )?;
            let (answer, mut body) = sender.send_request(head, false).map_err(broken)?;
            body.send_data(ask.clone(), true).map_err(broken)?;
            crew.notes.sent(ask.len());
            answered(crew, answer).await;
        }
        Ok(())
    })
    .await
}
