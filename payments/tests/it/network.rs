//! Over TCP and TLS, as a node asks.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use docket_engine::{PaymentKind::Authorize, PaymentOutcome};
use docket_payments::{
    NotSettled, PaymentProvider as _,
    http::{HttpConfig, HttpProvider},
    stub::{Fault, On, Stub, StubOptions, What},
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::scene::{name, order, request};

/// Pauses that are over before anybody waits for them.
fn config(url: String) -> HttpConfig {
    HttpConfig {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(1),
        ..HttpConfig::new(url)
    }
}

async fn asked(config: &HttpConfig) -> Result<PaymentOutcome, NotSettled> {
    let provider = HttpProvider::new(name(), config).unwrap();
    provider
        .settle(&request(order(1), Authorize, 1, 100), false)
        .await
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn it_asks_over_tcp_below_the_path_of_the_address() {
    let stub = Stub::open(StubOptions::default()).unwrap();
    let address = stub.listen(any_port()).await.unwrap();
    asked(&config(format!("http://{address}/"))).await.unwrap();
    assert_eq!(stub.payment(&order(1).to_string()).authorized, 100);
    let wrong = asked(&config(format!("http://{address}/elsewhere"))).await;
    assert_eq!(
        wrong.unwrap_err().why,
        "404 Not Found (there is nothing here): not in the contract"
    );
}

#[tokio::test]
async fn what_is_answered_twice_is_twice_on_the_connection() {
    let stub = Stub::open(StubOptions::default()).unwrap();
    let twice = Fault::at(On::Lookup, What::Twice);
    stub.add_faults(vec![twice]).unwrap();
    let address = stub.listen(any_port()).await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /payments/A/steps?key=k HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    assert_eq!(replies.matches("HTTP/1.1 404 Not Found").count(), 2, "{replies}");
    assert_eq!(replies.matches("the key was never seen").count(), 2, "{replies}");
}

/// Answers each request of one connection with the next of `replies`, whatever it is, and tells the requests' first lines.
async fn canned(listener: TcpListener, replies: Vec<String>) -> Vec<String> {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut asked = Vec::new();
    for reply in replies {
        let (mut length, mut head) = (0, Vec::new());
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap();
            }
            head.push(line);
        }
        asked.push(head.swap_remove(0));
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", reply.len());
        stream.write_all((head + &reply).as_bytes()).await.unwrap();
    }
    asked
}

#[tokio::test]
async fn a_second_reply_to_one_question_is_no_answer_to_the_next() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (first, second) = (
        request(order(1), Authorize, 1, 100),
        request(order(2), Authorize, 1, 100),
    );
    let done = |key: String| format!(r#"{{"key":"{key}","status":"done","reference":"of {key}"}}"#);
    let declined = format!(
        r#"{{"key":"{}","status":"declined","reason":"poor"}}"#,
        second.key()
    );
    // What comes a second time comes as if it were the reply to what is asked next.
    let replies = vec![done(first.key()), done(first.key()), declined];
    let served = tokio::spawn(canned(listener, replies));

    let config = config(format!("http://{address}"));
    let provider = HttpProvider::new(name(), &config).unwrap();
    provider.settle(&first, false).await.unwrap();
    let outcome = provider.settle(&second, false).await.unwrap();
    let reason = "poor".into();
    assert_eq!(outcome, PaymentOutcome::Declined { reason });
    let asked = served.await.unwrap();
    assert!(asked[1].starts_with("POST "), "{asked:?}");
    assert!(asked[2].starts_with("GET "), "{asked:?}");
}

#[tokio::test]
async fn nobody_there_is_told() {
    let stub = Stub::open(StubOptions::default()).unwrap();
    let address = stub.listen(any_port()).await.unwrap();
    let config = config(format!("http://{address}"));
    asked(&config).await.unwrap();
    stub.kill();
    stub.died().await;
    // The port is closed when the task that listens has seen it.
    let refused = loop {
        match asked(&config).await {
            Err(refused) if refused.why.contains("Connection refused") => break refused,
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(refused.why.starts_with("client error (Connect): "), "{refused}");
    stub.restart().await.unwrap();
    asked(&config).await.unwrap();
    assert_eq!(stub.payment(&order(1).to_string()).authorized, 100);
}

#[tokio::test]
async fn it_asks_over_tls_whom_an_authority_vouches_for() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, cert.pem()).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stub = Stub::open(StubOptions::default()).unwrap();
    let served = stub.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(served.clone().serve(stream));
            }
        }
    });

    let strangers = config(format!("https://localhost:{port}"));
    let refused = asked(&strangers).await.unwrap_err();
    assert!(refused.why.contains("invalid peer certificate"), "{refused}");
    assert_eq!(stub.requests(), []);

    let trusted = HttpConfig {
        ca_file: Some(ca_file),
        ..strangers.clone()
    };
    asked(&trusted).await.unwrap();
    assert_eq!(stub.payment(&order(1).to_string()).authorized, 100);

    let missing = HttpConfig {
        ca_file: Some(folder.path().join("gone.pem")),
        ..strangers
    };
    let refused = HttpProvider::new(name(), &missing).unwrap_err();
    assert_eq!(refused.option, "ca_file");
    assert!(refused.to_string().contains("gone.pem"), "{refused}");
}
