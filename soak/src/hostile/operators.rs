//! Attacks on the operators' port, by somebody who reaches it.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::sleep,
};

use super::{crew::Crew, http1};

/// Paths of other programs, of files, and of what there might be.
const PATHS: [&str; 12] = [
    "/admin",
    "/.env",
    "/../../../../etc/passwd",
    "/console/../../data/admin.key",
    "/console/assets/%2e%2e/%2e%2e/admin.key",
    "/actuator/heapdump",
    "/debug/pprof/heap",
    "/metrics/../livez",
    "/status?local&local&local",
    "/.git/config",
    "/console/api/orders",
    "//evil.example/",
];
/// A line of a head that never ends, each.
const DRIP: Duration = Duration::from_millis(200);
/// A head that is longer than any.
const LONG_BYTES: usize = 64 * 1_024;

/// Requests for what is not there, heads that are too long, and heads that never end.
pub async fn probe(crew: &Crew, number: usize) -> io::Result<()> {
    let mut stream = crew.admin(number).await?;
    if number.is_multiple_of(4) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: docket\r\n").await?;
        loop {
            tokio::select! {
                said = stream.read_u8() => return said.map(|_| crew.notes.note("answered")),
                () = sleep(DRIP) => stream.write_all(b"x-more: 1\r\n").await?,
            }
        }
    }
    for (turn, path) in PATHS.iter().enumerate() {
        crew.work.turns(1).await;
        let path = match turn == number % PATHS.len() {
            true => format!("/{}", "a".repeat(LONG_BYTES)),
            false => (*path).to_owned(),
        };
        let asked = format!("GET {path} HTTP/1.1\r\nhost: docket\r\n\r\n");
        stream.write_all(asked.as_bytes()).await?;
        crew.notes.sent(asked.len());
        crew.notes.note(match http1::answer(&mut stream).await? {
            Some(answer) => format!("HTTP {}", answer.status),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        });
    }
    Ok(())
}
