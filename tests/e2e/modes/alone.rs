//! A node that stands alone.

use std::{net::TcpStream, os::unix::process::ExitStatusExt as _, time::Duration};

use docket_proto::v1::{AdjustStockRequest, ListItemsRequest, LoginRequest, PlaceOrderRequest};
use futures::future::join_all;
use rustix::process::Signal;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    Acknowledged, furnish,
    memory::Bound,
    metric,
    page::{Mode, run},
    until,
};
use crate::{
    alerts::{FAULTS, Followed, obeys_tests},
    api::{Api, Credentials, order, reason},
    server::{Home, Server},
};

/// Connections of one address: more than this test has besides.
const CONNECTIONS: usize = 48;
/// Beyond what the process has it may have so much more memory: some 2,400 orders, which a slow machine does in time, too.
const MEMORY_BYTES: u64 = 2 << 20;
const PASSWORD: &str = "correct horse battery staple";

fn configuration(more: &str) -> String {
    format!("[log]\nlevel = \"info\"\n{more}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_befalls_a_node_that_stands_alone_is_as_the_page_says() {
    let faults = Followed::new("");
    let mut home = Home::new()
        .set("admission.max_per_customer", "2")
        .set("admission.max_open_per_address", "1")
        .set("connections.max_per_address", &CONNECTIONS.to_string());
    if obeys_tests() {
        home = home.variable(FAULTS, &faults.path());
    }
    home.configure(&configuration(""));
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    furnish(&api).await;
    let mut acknowledged = Acknowledged::default();
    acknowledged.are_there(&api).await;

    if obeys_tests() {
        panics(&home, &server, &api, &faults, &mut acknowledged).await;
    } else {
        println!("not tried, since the program does not go wrong on demand: panics");
    }
    mistake(&home, &server).await;
    wrong_price_and_stock(&home, &server, &api).await;
    last_key(&home, &server).await;
    one_caller(&home, &server, &api).await;
    guesses(&home, &server, &api).await;
    connections(&home, &server, &api).await;
    acknowledged.are_there(&api).await;
    let server = killed(&home, server, &mut acknowledged).await;
    out_of_memory(&home, server, &mut acknowledged).await;
}

/// An item that panics over whatever it is told.
async fn panics(home: &Home, server: &Server, api: &Api, faults: &Followed, acknowledged: &mut Acknowledged) {
    let mode = Mode::of("a panic in a call or an actor");
    let panics = || metric(server, "docket_actor_panics_total{kind=\"item\"}");
    let before = panics();
    faults.goes_wrong(home, "items-panic");
    let status = acknowledged.try_to_place(api).await.unwrap_err();
    mode.tells(&status);
    assert!(panics() > before);
    mode.ends();

    let mode = Mode::of("a command that panics each time");
    let given_up = mode.names("docket_poison_commands_total");
    let before = metric(server, given_up);
    let adjust = AdjustStockRequest {
        name: "items/nut".into(),
        delta: 1,
        request_id: "panics".into(),
        ..Default::default()
    };
    let status = api.items().adjust_stock(adjust.clone()).await.unwrap_err();
    mode.tells(&status);
    assert!(metric(server, given_up) > before);
    // What concerns no item is done meanwhile.
    api.customer("eve", 10).await;
    faults.goes_wrong(home, "");
    api.items().adjust_stock(adjust).await.unwrap();
    server.settled().await;
    acknowledged.are_there(api).await;
    mode.ends();
}

/// A line that is none.
async fn mistake(home: &Home, server: &Server) {
    let mode = Mode::of("a mistake in the configuration");
    let file = home.file("docket.toml");
    let file = file.to_str().unwrap();
    home.configure(&configuration("levels = \"debug\"\n"));
    until("the mistake to be told", home, async || {
        let log = home.whole_log();
        log.contains("the configuration stays as it was") && log.contains("docket.toml:3")
    })
    .await;
    let found = run(home, None, "docket config check --config FILE", &[("FILE", file)]);
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(
        !found.status.success() && said.contains("docket.toml:3"),
        "{said}"
    );
    let taken = || metric(server, "docket_config_reloads_total{result=\"valid\"}");
    let before = taken();
    home.configure(&configuration(""));
    mode.follow(home, Some(server), &[("FILE", file)]);
    until("the mended file to be taken", home, async || taken() > before).await;
    mode.ends();
}

async fn wrong_price_and_stock(home: &Home, server: &Server, api: &Api) {
    let mode = Mode::of("a wrong price or stock");
    // Thousands instead of tens, and none of it in stock.
    api.item("tea", 5_000, 0).await;
    let place = async |request_id: &str, unit_price| {
        let request = order(request_id, "ada", &[("tea", 1, unit_price)]);
        api.orders().place_order(request).await
    };
    let status = place("at-the-right-price", 480).await.unwrap_err();
    assert_eq!(reason(&status), mode.names("PRICE_CHANGED"));
    let status = place("of-what-there-is-not", 5_000).await.unwrap_err();
    assert_eq!(reason(&status), mode.names("INSUFFICIENT_STOCK"));
    mode.follow(home, Some(server), &[("SKU", "tea")]);
    place("now", 480).await.unwrap();
    mode.ends();
}

/// The only administrator's other key is gone.
async fn last_key(home: &Home, server: &Server) {
    let mode = Mode::of("the last administrator's key is lost");
    let admin_key = home.data().join(mode.names("admin.key"));
    let with_lost = run(
        home,
        Some(server),
        "docket auth key list --api-key-file FILE",
        &[("FILE", "lost")],
    );
    assert!(!with_lost.status.success());
    std::fs::write(
        home.file("lost"),
        "dk_0123456789abcdef_0123456789abcdef0123456789abcdef",
    )
    .unwrap();
    let refused = run(
        home,
        Some(server),
        "docket auth key list --api-key-file FILE",
        &[("FILE", "lost")],
    );
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("CREDENTIALS_INVALID"),
        "{said}"
    );
    let said = mode.follow(home, Some(server), &[("FILE", admin_key.to_str().unwrap())]);
    let key = run(home, Some(server), "docket auth key list -o json", &[]);
    let listed: serde_json::Value = serde_json::from_slice(&key.stdout).unwrap();
    let keys = listed
        .as_object()
        .unwrap()
        .values()
        .find_map(|value| value.as_array());
    let name = keys.unwrap()[0]["name"]
        .as_str()
        .unwrap_or_else(|| panic!("{listed}: {said}"))
        .to_owned();
    let revoked = run(
        home,
        Some(server),
        "docket auth key revoke KEY",
        &[("KEY", &name)],
    );
    let said = String::from_utf8_lossy(&revoked.stderr).into_owned();
    assert!(
        !revoked.status.success() && said.contains(mode.names("LAST_WAY_IN")),
        "{said}"
    );
    mode.names("auth.admin_key");
    mode.ends();
}

async fn one_caller(home: &Home, server: &Server, api: &Api) {
    let mode = Mode::of("one caller is too much: too often, or too many at a time");
    std::fs::write(home.file("password"), PASSWORD).unwrap();
    let docket = |command: &str| {
        let done = run(home, Some(server), command, &[]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{command}: {said}");
        serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap_or_default()
    };
    docket("docket auth register ada --role customer --customer ada --password-file password");
    let key = docket("docket auth key create --account ada --scope read --scope orders -o json");
    let ada = Api::connect(server)
        .await
        .by(Credentials::key(key["secret"].as_str().unwrap()));
    let denials = mode.names("docket_limiter_denials_total");
    let denied = |limiter: &str| metric(server, &format!("{denials}{{limiter=\"{limiter}\"}}"));
    let list = async |api: &Api| {
        api.items()
            .list_items(ListItemsRequest::default())
            .await
            .map(drop)
    };

    // Too often.
    docket("docket limit set ada --rate 1 --burst 1");
    let mut refused = None;
    until("the limit to be gone by", home, async || {
        refused = list(&ada).await.err();
        refused.is_some()
    })
    .await;
    let status = refused.unwrap();
    mode.tells(&status);
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    list(api).await.unwrap();
    docket("docket limit unset ada");
    until("the limit to be gone", home, async || list(&ada).await.is_ok()).await;

    // Too many at a time: streams that say nothing.
    mode.names("admission.max_per_customer");
    let hold = || {
        let mut orders = ada.orders();
        tokio::spawn(async move {
            let silent = tokio_stream::pending::<PlaceOrderRequest>();
            let mut answers = orders.place_orders(silent).await?.into_inner();
            answers.message().await.map(drop)
        })
    };
    let before = denied(mode.names("customer_in_flight"));
    let mut held = Vec::new();
    until("a stream too many", home, async || {
        held.push(hold());
        tokio::time::sleep(Duration::from_millis(20)).await;
        denied("customer_in_flight") > before
    })
    .await;
    assert!(held.len() > 2);
    api.items().list_items(ListItemsRequest::default()).await.unwrap();
    let mut told = Vec::new();
    for stream in held {
        match stream.is_finished() {
            true => told.push(stream.await.unwrap().unwrap_err()),
            false => stream.abort(),
        }
    }
    told.iter().for_each(|status| mode.tells(status));

    // And without credentials: logins, which take their time.
    mode.names("admission.max_open_per_address");
    mode.names("address_in_flight");
    let login = || async {
        let ask = LoginRequest {
            username: "ada".into(),
            password: PASSWORD.into(),
        };
        Api::connect(server).await.auth().login(ask).await.map(drop)
    };
    until("logins at a time to be too many", home, async || {
        for status in join_all((0..4).map(|_| login()))
            .await
            .into_iter()
            .filter_map(Result::err)
        {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        }
        denied("address_in_flight") > 0.0
    })
    .await;
    login().await.unwrap();
    mode.ends();
}

async fn guesses(home: &Home, server: &Server, api: &Api) {
    let mode = Mode::of("somebody guesses credentials");
    let stranger = Api::connect(server)
        .await
        .by(Credentials::key("docket_nobody_has_this_key"));
    let slowed = || metric(server, "docket_limiter_denials_total{limiter=\"failure\"}");
    let before = slowed();
    until("the address to be slowed down", home, async || {
        let answers =
            (0..20).map(|_| async { stranger.items().list_items(ListItemsRequest::default()).await });
        for status in join_all(answers).await.into_iter().filter_map(Result::err) {
            assert!(
                matches!(status.code(), Code::Unauthenticated | Code::ResourceExhausted),
                "{status:?}"
            );
        }
        slowed() > before
    })
    .await;
    // Whoever is known goes on, from the same address.
    api.items().list_items(ListItemsRequest::default()).await.unwrap();
    let data = home.data();
    let denied = mode.follow(home, Some(server), &[("DIR", data.to_str().unwrap())]);
    assert!(denied.contains("127.0.0.1"), "{denied}");
    mode.ends();
}

async fn connections(home: &Home, server: &Server, api: &Api) {
    let mode = Mode::of("connections or files run out");
    let displaced = mode.names("docket_connections_total{outcome=\"displaced\"}");
    let before = metric(server, displaced);
    let idle: Vec<_> = (0..2 * CONNECTIONS)
        .map(|_| TcpStream::connect(server.grpc).unwrap())
        .collect();
    until("some to be displaced", home, async || {
        metric(server, displaced) > before
    })
    .await;
    // Who has called keeps its place, and who comes and calls gets one.
    api.items().list_items(ListItemsRequest::default()).await.unwrap();
    let newcomer = Api::admin(server, home).await;
    newcomer
        .items()
        .list_items(ListItemsRequest::default())
        .await
        .unwrap();
    drop(idle);
    mode.ends();
}

async fn killed(home: &Home, server: Server, acknowledged: &mut Acknowledged) -> Server {
    let mode = Mode::of("a node that stands alone is killed");
    let api = Api::admin(&server, home).await;
    let placing: Vec<_> = (0..8)
        .map(|n| order(&format!("killed-{n}"), "ada", &[("nut", 1, 5)]))
        .collect();
    let placing = placing.into_iter().map(|request| {
        let mut orders = api.orders();
        tokio::spawn(async move {
            orders
                .place_order(request)
                .await
                .map(|placed| placed.into_inner().name)
        })
    });
    let placing: Vec<_> = placing.collect();
    server.kill();
    for (n, placed) in placing.into_iter().enumerate() {
        if let Ok(name) = placed.await.unwrap() {
            acknowledged.orders.insert(format!("killed-{n}"), name);
        }
    }
    assert!(acknowledged.try_to_place(&api).await.is_err(), "nobody is served");
    let server = Server::start(home);
    // What was half-way is finished, or undone.
    server.settled().await;
    let api = Api::admin(&server, home).await;
    for n in 0..8 {
        acknowledged.repeat(&api, &format!("killed-{n}")).await.unwrap();
    }
    acknowledged.are_there(&api).await;
    mode.ends();
    server
}

/// The system gives it no more.
async fn out_of_memory(home: &Home, mut server: Server, acknowledged: &mut Acknowledged) {
    let mode = Mode::of("memory runs out");
    let api = Api::admin(&server, home).await;
    let Some(bound) = Bound::on(&server, MEMORY_BYTES) else {
        return println!("SKIPPED: memory that runs out: no control group can be made here");
    };
    let mut asked = 0;
    until("it to have no memory any more", home, async || {
        let many = (0..64).map(|n| {
            let request = order(&format!("memory-{asked}-{n}"), "ada", &[("nut", 1, 5)]);
            let mut orders = api.orders();
            async move { (request.request_id.clone(), orders.place_order(request).await) }
        });
        for (request_id, placed) in join_all(many).await {
            if let Ok(placed) = placed {
                acknowledged.orders.insert(request_id, placed.into_inner().name);
            }
        }
        asked += 1;
        server.has_ended()
    })
    .await;
    println!("it had no memory any more after {asked} times 64 orders");
    mode.says("as a kill");
    let lost = acknowledged.try_to_place(&api).await.unwrap_err();
    // Cancelled is what the client's own connection says of a call that it took while it was about to find out.
    assert!(
        matches!(lost.code(), Code::Unavailable | Code::Cancelled),
        "{lost:?}"
    );
    let ended = server.ended();
    assert_eq!(
        ended.signal(),
        Some(Signal::KILL.as_raw()),
        "{ended}: {}",
        home.log()
    );
    mode.says("the kernel's log");
    assert!(bound.has_killed(), "the kernel says nothing of it");
    drop(bound);
    let server = Server::start(home);
    let api = Api::admin(&server, home).await;
    acknowledged.are_there(&api).await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
    mode.ends();
}
