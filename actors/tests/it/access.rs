//! Accounts and keys in the meta group: what was answered is there after a restart.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use docket_actors::access::{Access, AccessError};
use docket_engine::{
    Time,
    access::{
        AccessCommand, AccessRejection, ApiKeyId, Caller, PasswordHash, Request, Role, SecretHash,
        SigningKeyId, SigningSeed, Username,
    },
};

use crate::shop::Shop;

pub(crate) fn name(text: &str) -> Username {
    Username::new(text).unwrap()
}

pub(crate) fn bootstrap() -> Request {
    Request::Bootstrap {
        username: name("root"),
        key: ApiKeyId([1; 12]),
        secret: SecretHash([1; 32]),
    }
}

pub(crate) fn register(username: &str) -> Request {
    let by = Caller {
        account: name("root"),
        role: Role::Admin,
        scopes: Role::Admin.scopes(),
    };
    let password = PasswordHash::new("$argon2id$none").unwrap();
    Request::Register {
        by,
        username: name(username),
        password,
        role: Role::Service,
        customer: None,
    }
}

pub(crate) async fn execute(access: &Access, request: Request) -> Result<(), AccessError> {
    access
        .execute(&AccessCommand {
            time: Time(1),
            request,
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    let access = shop.docket.access().clone();
    assert!(access.read(|state| state.is_empty()));
    execute(&access, bootstrap()).await.unwrap();
    let (key, seed) = (SigningKeyId([1; 8]), SigningSeed([1; 32]));
    execute(
        &access,
        Request::CreateSigningKey {
            key,
            seed,
            replaces: None,
        },
    )
    .await
    .unwrap();
    let again = execute(&access, bootstrap()).await;
    assert_eq!(again, Err(AccessRejection::NotEmpty.into()));

    // At once, and every one of them is there when it is answered.
    let registered = (0..20).map(|n| {
        let access = access.clone();
        tokio::spawn(async move {
            execute(&access, register(&format!("ada{n}"))).await.unwrap();
            assert!(access.read(|state| state.account(&format!("ada{n}")).is_some()));
        })
    });
    for task in registered.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let before = access.read(Clone::clone);
    assert_eq!((access.version(), before.accounts().len()), (22, 21));
    shop.close().await;
    let late = execute(&access, register("late")).await;
    assert!(
        matches!(late, Err(AccessError::NotLeader | AccessError::OutcomeUnknown)),
        "{late:?}"
    );

    let shop = Shop::open(dir.path()).await;
    let access = shop.docket.access();
    assert!(access.read(|state| *state == before));
    assert_eq!(access.version(), 22);
    execute(access, register("bob")).await.unwrap();
    shop.close().await;
}
