//! Where nothing is delivered to.

use bytes::Bytes;
use docket_engine::{Time, webhook::DeliveryFailure};
use docket_webhooks::{Sender, WebhookOptions};

use crate::{receiver::Receiver, shop::lenient};

async fn failure(options: &WebhookOptions, url: &str) -> Option<DeliveryFailure> {
    let sender = Sender::new(options).unwrap();
    let sent = sender
        .deliver(url, "x-1", Bytes::from_static(b"{}"), Vec::new(), Time(1))
        .await;
    sent.err().map(|error| error.failure)
}

#[tokio::test]
async fn no_address_of_this_machine_or_its_network_is_connected_to() {
    let receiver = Receiver::start().await;
    let port = receiver.url().rsplit(':').next().unwrap().to_owned();
    let guarded = WebhookOptions {
        allow_private: false,
        ..lenient()
    };
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
        "10.0.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "[fd00::1]",
        "[fe80::1]",
    ] {
        let url = format!("http://{host}:{port}");
        let failed = failure(&guarded, &url).await;
        // What the system does not take for an address has none.
        let refused = [DeliveryFailure::NotAllowed, DeliveryFailure::NotResolved];
        assert!(
            failed.is_some_and(|failed| refused.contains(&failed)),
            "{host}: {failed:?}"
        );
    }
    assert!(receiver.got().is_empty());
    assert_eq!(failure(&lenient(), &receiver.url()).await, None);
}

#[tokio::test]
async fn without_tls_nothing_is_sent_unless_that_is_allowed() {
    let receiver = Receiver::start().await;
    let options = WebhookOptions {
        allow_http: false,
        ..lenient()
    };
    assert_eq!(
        failure(&options, &receiver.url()).await,
        Some(DeliveryFailure::NotAllowed)
    );
    let https = receiver.url().replace("http:", "https:");
    assert_eq!(failure(&options, &https).await, Some(DeliveryFailure::NotTrusted));
    assert!(receiver.got().is_empty());
}

#[tokio::test]
async fn nobody_there_is_no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/");
    assert_eq!(
        failure(&lenient(), &url).await,
        Some(DeliveryFailure::NotConnected)
    );
}
