//! What a cluster says to whoever claims to be its standby, and to one that is.

use std::sync::Arc;

use docket_actors::standby::{Followed, Posture, PromoteError, Promotion, StandbyControl};
use docket_proto::v1::{
    ExchangeEpochsRequest, ExchangeEpochsResponse, ForgetStandbyRequest, RegisterStandbyRequest,
    RegisterStandbyResponse, order_service_client::OrderServiceClient,
    standby_service_client::StandbyServiceClient,
};
use futures::future::{BoxFuture, FutureExt as _};
use tonic::{Code, Status};

use crate::support::{Running, by, nuts, reason, start};

const BY: &str = "http://10.1.0.1:7070";

async fn registers(server: &Running, key: &'static str, id: &str) -> Result<RegisterStandbyResponse, Status> {
    let request = RegisterStandbyRequest {
        standby_id: id.into(),
        address: BY.into(),
        ca: String::new(),
    };
    let mut client = StandbyServiceClient::new(server.connect().await);
    let registered = client.register_standby(by(key, request)).await;
    registered.map(tonic::Response::into_inner)
}

/// Says that who shares this secret is in an epoch. It needs nothing else.
async fn tells(server: &Running, secret: &str, epoch: u64) -> Result<ExchangeEpochsResponse, Status> {
    let request = ExchangeEpochsRequest {
        secret: secret.into(),
        epoch,
        address: BY.into(),
    };
    let mut client = StandbyServiceClient::new(server.connect().await);
    client
        .exchange_epochs(request)
        .await
        .map(tonic::Response::into_inner)
}

/// Secrets that are not this one, and look much like it.
fn others(secret: &str) -> Vec<String> {
    let last = if secret.ends_with('0') { "1" } else { "0" };
    let first = if secret.starts_with('0') { "1" } else { "0" };
    vec![
        "0".into(),
        secret[..secret.len() - 1].into(),
        format!("{secret}0"),
        format!("{}{last}", &secret[..secret.len() - 1]),
        format!("{first}{}", &secret[1..]),
        secret.to_uppercase().replace(|c: char| c.is_ascii_digit(), "a"),
        "0".repeat(64),
        format!("{secret}\0"),
    ]
}

#[tokio::test]
async fn a_wrong_secret_is_refused_by_name_and_nothing_follows_from_it() {
    let server = start(|_| {}).await;
    server.seed().await;
    let registered = registers(&server, "root", "one").await.unwrap();
    let mut orders = OrderServiceClient::new(server.connect().await);
    let before = server.docket.registered_standby();
    for (at, secret) in others(&registered.secret).into_iter().enumerate() {
        let refused = tells(&server, &secret, 2).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::FailedPrecondition, "STANDBY_UNKNOWN".to_owned()),
            "{secret}"
        );
        // Nor does it say what it would have had to be.
        assert!(!refused.message().contains(&registered.secret[..8]), "{refused}");
        assert_eq!(server.docket.fence_of(), None);
        assert_eq!(
            (&*server.docket.posture(), server.docket.epoch()),
            (&Posture::Open, 1)
        );
        assert_eq!(server.docket.registered_standby(), before);
        let placed = orders
            .place_order(by("root", nuts(&format!("o-{at}"), "ada", 1)))
            .await;
        placed.unwrap_or_else(|status| panic!("{secret}: {status}"));
    }
    let none = tells(&server, "", 2).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);

    // With the right one it is fenced, and says whose fence that is to nobody else.
    let told = tells(&server, &registered.secret, 2).await.unwrap();
    assert!(told.fenced, "{told:?}");
    let refused = orders
        .place_order(by("root", nuts("late", "ada", 1)))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "FENCED");
    for secret in others(&registered.secret) {
        assert_eq!(
            reason(&tells(&server, &secret, 3).await.unwrap_err()),
            "STANDBY_UNKNOWN"
        );
    }
    assert_eq!(server.docket.fence_of().map(|fence| fence.epoch), Some(2));
    server.stop().await;
}

#[tokio::test]
async fn the_secret_of_one_that_was_forgotten_is_a_wrong_one() {
    let server = start(|_| {}).await;
    let first = registers(&server, "root", "one").await.unwrap();
    let taken = registers(&server, "root", "two").await.unwrap_err();
    assert_eq!(reason(&taken), "STANDBY_TAKEN");
    let mut client = StandbyServiceClient::new(server.connect().await);
    client
        .forget_standby(by("root", ForgetStandbyRequest {}))
        .await
        .unwrap();
    let second = registers(&server, "root", "two").await.unwrap();
    assert_eq!(
        reason(&tells(&server, &first.secret, 2).await.unwrap_err()),
        "STANDBY_UNKNOWN"
    );
    assert_eq!(server.docket.fence_of(), None);
    // Registered once more under its own name it has the secret of then.
    assert_eq!(registers(&server, "root", "two").await.unwrap(), second);
    assert!(tells(&server, &second.secret, 2).await.unwrap().fenced);
    assert_eq!(
        reason(&tells(&server, &first.secret, 3).await.unwrap_err()),
        "STANDBY_UNKNOWN"
    );
    server.stop().await;
}

/// One that was promoted, and has not written that into its own log yet.
struct Promoted;

impl StandbyControl for Promoted {
    fn followed(&self) -> Followed {
        Followed {
            promoted: Some(2),
            ..Followed::default()
        }
    }

    fn promote(&self, _: bool) -> BoxFuture<'static, Result<Promotion, PromoteError>> {
        async { Err(PromoteError::Already { epoch: 2 }) }.boxed()
    }

    fn knows(&self, secret: &str) -> bool {
        secret == "shared"
    }

    fn own_address(&self) -> String {
        BY.to_owned()
    }
}

/// A standby that registered in that moment would have taken epoch 1 for this cluster's, have been promoted in its epoch, 2, and fenced nothing.
#[tokio::test]
async fn one_that_was_just_promoted_has_its_new_epoch_for_who_registers() {
    let server = start(|_| {}).await;
    server.docket.set_standby(Arc::new(Promoted));
    assert_eq!(server.docket.epoch(), 1, "it is not noted yet");
    assert_eq!(registers(&server, "root", "one").await.unwrap().epoch, 2);
    // A wrong secret hears nothing of that.
    assert_eq!(
        reason(&tells(&server, "share", 1).await.unwrap_err()),
        "STANDBY_UNKNOWN"
    );
    let told = tells(&server, "shared", 1).await.unwrap();
    assert!(told.promoted && told.epoch == 2, "{told:?}");
    server.stop().await;
}
