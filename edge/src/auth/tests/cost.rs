//! What it costs to know who calls. Run with `cargo test --release -p docket-edge cost -- --ignored --nocapture`.

use std::{hint::black_box, time::Instant};

use super::*;

fn measure(what: &str, times: u32, mut run: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..times {
        run();
    }
    println!("{what}: {} ns", start.elapsed().as_nanos() / u128::from(times));
}

#[tokio::test]
#[ignore = "a measurement"]
async fn of_a_call() {
    let world = World::new().await;
    world.register("ada", Role::Service, None).await;
    let session = world.open_session("ada", 7).await;
    let token = world.token("ada", session).await;
    let key = world.create_key("ada", &[Scope::Read], None).await.text();
    let (by_token, by_key) = (bearer(&token), headers(&[("x-api-key", key.expose_secret())]));
    let now = world.now();
    let known = &world.authenticator;
    let fresh = || Authenticator::new(world.access.clone(), &world.options, world.clock.clone());
    measure("a token that is known", 200_000, || {
        let _ = black_box(known.authenticate_at(&by_token, now));
    });
    measure("an API key that is known", 200_000, || {
        let _ = black_box(known.authenticate_at(&by_key, now));
    });
    let tokens = world.tokens();
    measure("a token that is not", 2_000, || {
        let _ = black_box(tokens.verify(&token, now));
    });
    let authenticator = fresh();
    measure("an API key that is not, nor exists", 20_000, || {
        let other = ApiKeyText::generate().map(|key| headers(&[("x-api-key", key.text().expose_secret())]));
        let _ = black_box(other.map(|headers| authenticator.authenticate_at(&headers, now)));
    });
}
