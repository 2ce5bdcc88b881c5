//! Real pieces: what the program writes, as inputs of the targets that read it.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use docket_actors::backup::LoggedEntry;
use docket_audit::{Audit, AuditOptions, Entry, Outcome, Who};
use docket_engine::{OrderId, Quantity, Sku};
use docket_fuzzed::{archive, audit, keys, put_piece, request, rest, sealed, standby, stored};
use docket_persistence::{
    archive::{Archive, Keyed as _, Put},
    frame::{HEADER_BYTES, Packer},
    mem::MemKeyed,
};
use docket_proto::{
    peer_call::{
        ChangesAsk, Forward, Page, PageAsk, PageOf, Reservation, Step, StepAction, StepAnswer,
        encode_orphaned, encode_wanted,
    },
    v1,
};
use docket_rest::{Body, ROUTES, Rule};
use prost::Message as _;

/// A target, a name, and the bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All of them.
pub fn all() -> Vec<Seed> {
    let mut all = frames();
    all.extend(snapshots());
    all.extend(archives());
    all.extend(audits());
    all.extend(standbys());
    all.extend(requests());
    all.extend(peers());
    all
}

/// The file with the archive's key, where there is none yet: the archives among the seeds are sealed with that key.
pub fn make_archive_head() {
    let key = docket_sealing::InnerKey::generate().unwrap();
    let text = key
        .wrapped(keys::keys(), b"docket archive key 1")
        .unwrap()
        .unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/archive-head.txt");
    fs::write(path, format!("{text}plain no\n")).unwrap();
}

/// What a journal or a snapshot had in some version.
fn fixture(target: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(target)
        .join(name);
    fs::read(path).unwrap()
}

fn frames() -> Vec<Seed> {
    let sealer = keys::keys().sealer(b"docket journal frame 2").unwrap();
    let mut packer = Packer::sealed(41, 7, sealer);
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let mut emit = |_, frame: &[u8]| -> Result<(), ()> {
        frames.push(frame.to_vec());
        Ok(())
    };
    packer.push(&fixture("record", "batch-5.bin"), &mut emit).unwrap();
    packer
        .push(&fixture("record", "batch-1.bin").repeat(5), &mut emit)
        .unwrap();
    packer.end_commit(&mut emit).unwrap();
    assert_eq!(frames.len(), 2, "the second record is cut");
    let mut seeds: Vec<Seed> = Vec::new();
    for (nth, frame) in frames.iter().enumerate() {
        seeds.push((
            "sealed",
            format!("frame-{nth}"),
            [&[sealed::kind::FRAME], &**frame].concat(),
        ));
    }
    let mut plain: Vec<u8> = Vec::new();
    let mut packer = Packer::new(41, 7);
    let mut emit = |_, frame: &[u8]| -> Result<(), ()> {
        plain = frame.to_vec();
        Ok(())
    };
    packer.push(&fixture("record", "batch-5.bin"), &mut emit).unwrap();
    packer.end_commit(&mut emit).unwrap();
    let fields = &plain[5..HEADER_BYTES];
    let payload = &plain[HEADER_BYTES..];
    seeds.push((
        "sealed",
        "fragments".into(),
        [&[sealed::kind::SEALED], fields, payload].concat(),
    ));
    seeds.push((
        "sealed",
        "plain".into(),
        [&[sealed::kind::FRAME], &*plain].concat(),
    ));
    let text = keys::ARCHIVE_HEAD.as_bytes();
    seeds.push((
        "sealed",
        "archive-head".into(),
        [&[sealed::kind::TEXT], text].concat(),
    ));
    let mut head = vec![sealed::kind::BYTES];
    keys::head().put(&mut head);
    keys::cipher(b"docket journal frame 2")
        .seal(docket_sealing::Nonce::ONE, &[], &mut head, 1 + keys::head().len())
        .unwrap();
    seeds.push(("sealed", "head".into(), head));
    seeds
}

fn snapshots() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for (name, is_sealed) in [("plain", 0), ("sealed", stored::SEALED)] {
        let mut input = vec![is_sealed];
        let mut put = |kind, piece: &[u8]| {
            input.push(kind);
            put_piece(&mut input, piece);
        };
        put(stored::kind::META, b"what it stands for in the log");
        put(stored::kind::STATE, &fixture("snapshot", "snapshot-4.bin"));
        put(
            stored::kind::STATE,
            &fixture("snapshot", "snapshot-7-payments.bin"),
        );
        put(stored::kind::END, &[]);
        seeds.push(("stored", name.into(), input));
    }
    // One of version 1, whose end is the last of its chunks, as it is in the fixture's database.
    let mut input = vec![0];
    for (kind, bytes) in [(1, &b"meta"[..]), (2, b"data of a state"), (3, &[1; 33])] {
        input.push(stored::kind::MENDED);
        put_piece(&mut input, &[&[0, 0, 0, 0, kind], bytes].concat());
    }
    seeds.push(("stored", "chunks".into(), input));
    seeds
}

fn archives() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for (name, flags) in [("plain", 0), ("mended", 2), ("sealed", 1)] {
        let keyed = MemKeyed::new();
        let archive = match flags & 1 {
            1 => archive::sealed(&keyed),
            _ => Archive::new(std::sync::Arc::new(keyed.clone())),
        };
        let shelf = archive.shelf(archive::SHELF);
        let long = fixture("snapshot", "snapshot-4.bin").repeat(4);
        let values: [(u64, u8, &[u8]); 2] = [(0, 0x11, b"an order"), (1, 0x22, &long)];
        for (number, key, value) in values {
            let by: &[(u8, &[u8])] = &[(1, b"customer")];
            shelf
                .put(&Put {
                    number,
                    key: [key; 16],
                    value,
                    by,
                })
                .unwrap();
            shelf.mark(0x22, number).unwrap();
        }
        let mut input = vec![flags];
        input.extend_from_slice(&[0x22; 16]);
        for (tree, number) in archive::TREES.into_iter().zip(0..) {
            for (key, value) in keyed.newest(tree, &[], &[0xFF; 64], 100).unwrap() {
                input.push(number);
                put_piece(&mut input, &key);
                put_piece(&mut input, &value);
            }
        }
        seeds.push(("archive", name.into(), input));
    }
    seeds
}

fn audits() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for (name, keyring) in [("plain", Default::default()), ("sealed", keys::keys().clone())] {
        let folder = tempfile::tempdir().unwrap();
        let log = Audit::open_with(folder.path(), 1, AuditOptions::default(), keyring).unwrap();
        let who = Who {
            account: "ada".into(),
            credential: "key:7".into(),
            role: "admin".into(),
            peer: "10.0.0.1".into(),
        };
        runtime.block_on(async {
            let entry = Entry::new(who.clone(), "role.assign", "shop").detail("role", "service");
            log.record(entry.request_id("r-1")).await.unwrap();
            let refused =
                Entry::new(who, "api_key.create", "shop").outcome(Outcome::Refused, "TOO_MANY_API_KEYS");
            log.record(refused).await.unwrap();
        });
        log.close_blocking();
        let mut lines = Vec::new();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let kind = match path.ends_with("head") {
                true => audit::kind::HEAD,
                false => audit::kind::LINE,
            };
            let bytes = fs::read(path).unwrap();
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                lines.push([&[kind], line, b"\n"].concat());
            }
        }
        lines.sort();
        seeds.push(("audit", name.into(), lines.concat()));
        // As they are hashed and sealed by the target.
        if name == "plain" {
            for (name, kind) in [("hashed", audit::kind::HASHED), ("both", audit::kind::BOTH)] {
                let mut input = Vec::new();
                for line in lines.iter().filter(|line| line[0] == audit::kind::LINE) {
                    let covered = line.len() - br#","hash":"""#.len() - 64 - b"}\n".len();
                    input.extend_from_slice(&[&[kind], &line[1..covered], b"}\n"].concat());
                }
                seeds.push(("audit", name.into(), input));
            }
        }
    }
    seeds
}

fn standbys() -> Vec<Seed> {
    let from = standby::FROM;
    let entry = |index, payload: Option<Vec<u8>>| LoggedEntry {
        index,
        term: 1,
        payload: payload.map(Bytes::from),
    };
    let of_shard = entry(from, Some(fixture("record", "batch-1.bin")));
    let behind = entry(from + 1, Some(fixture("record", "batch-7-payments.bin")));
    let put = |entries: &[&LoggedEntry]| {
        let mut bytes = Vec::new();
        for entry in entries {
            entry.put(&mut bytes);
        }
        bytes
    };
    let (first, second) = (put(&[&entry(from, None)]), put(&[&of_shard, &behind]));
    let mut frames = vec![standby::kind::FRAMES];
    for (group, entries) in [(0, &first), (1, &second)] {
        frames.push(group);
        put_piece(&mut frames, entries);
    }
    let late = 1_900_000_000_000_000;
    let pieces = [
        (0, entry(from, None)),
        (1, of_shard.clone()),
        (1, behind.clone()),
        (3, of_shard.clone()),
    ];
    let mut seeds: Vec<Seed> = vec![
        ("standby", "frames".into(), frames.clone()),
        ("standby", "pieces".into(), standby::input_of(late, &pieces)),
        // The point is before some of them.
        ("standby", "cut".into(), standby::input_of(1, &pieces)),
        (
            "standby",
            "file".into(),
            standby::file_of(&[(0, &first[..]), (1, &second[..])]),
        ),
    ];
    let message = |which: u8, bytes: Vec<u8>| [&[standby::kind::MESSAGE, which], &*bytes].concat();
    let register = v1::RegisterStandbyRequest {
        standby_id: "0d8f5d0a-1f38-4b1b-9a53-0c9c3d1f7a11".into(),
        address: "https://10.1.0.1:7070".into(),
        ca: "-----BEGIN CERTIFICATE-----".into(),
    };
    let exchange = v1::ExchangeEpochsRequest {
        secret: "5f".repeat(32),
        epoch: 2,
        address: "https://10.1.0.1:7070".into(),
    };
    let follow = v1::FollowLogsRequest {
        standby_id: register.standby_id.clone(),
        from_index: vec![from; 4],
    };
    seeds.push(("standby", "register".into(), message(0, register.encode_to_vec())));
    seeds.push(("standby", "follow".into(), message(2, follow.encode_to_vec())));
    seeds.push(("standby", "exchange".into(), message(4, exchange.encode_to_vec())));
    seeds
}

fn peers() -> Vec<Seed> {
    let order = OrderId::compose(1_795_000_000_000, 7, 42);
    let sku = Sku::new("tea").unwrap();
    let quantity = Quantity(2);
    let step = |action| Step {
        term: 3,
        order,
        sku: sku.clone(),
        edits: 1,
        knows_waiting: true,
        only_there: false,
        action,
    };
    let wanted = Reservation {
        order,
        sku: sku.clone(),
    };
    let named = PageAsk {
        shards: vec![0, 3],
        what: PageOf::Named(vec![order]),
    };
    let customers = PageAsk {
        shards: vec![1],
        what: PageOf::Customers {
            after: None,
            limit: 50,
        },
    };
    let changes = ChangesAsk {
        shards: Vec::new(),
        customer: None,
        states: Vec::new(),
        limit: 100,
        wait: Duration::from_secs(1),
    };
    let forward = Forward {
        method: "/docket.v1.OrderService/GetOrder".into(),
        message: Bytes::from_static(b"an order"),
        principal: None,
        address: "10.0.0.1".into(),
        traceparent: String::new(),
        tracestate: String::new(),
    };
    let messages = [
        ("wanted", 1, encode_wanted(&[wanted])),
        ("orphaned", 2, encode_orphaned(vec![true, false])),
        ("raise", 6, step(StepAction::Raise { line: 0, quantity }).encode()),
        (
            "release",
            6,
            step(StepAction::Release { remaining: quantity }).encode(),
        ),
        ("waiting", 6, step(StepAction::Waiting).encode()),
        ("done", 7, StepAnswer::Done(quantity).encode()),
        ("named", 8, named.encode()),
        ("customers", 8, customers.encode()),
        ("page", 9, Page::default().encode()),
        ("changes", 10, changes.encode()),
        ("forward", 12, forward.encode()),
    ];
    let seed = |(name, which, bytes): (&str, u8, Bytes)| {
        let input = [&[which, 2, 0], &*bytes].concat();
        ("peer", name.to_owned(), input)
    };
    messages.into_iter().map(seed).collect()
}

/// A request of a route, without anything that may be left out.
fn plain(rule: &Rule) -> String {
    let (mut path, mut rest) = (String::new(), rule.path);
    while let Some((before, variable)) = rest.split_once('{') {
        let (variable, behind) = variable.split_once('}').unwrap();
        let (_, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
        path.push_str(before);
        path.push_str(&pattern.replace('*', "7"));
        rest = behind;
    }
    let body = if rule.body == Body::None { "" } else { "{}" };
    format!("{} {path}{rest}\n\n\n{body}", rule.verb.as_str())
}

fn requests() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for rule in ROUTES {
        let (_, name) = rule.method.rsplit_once('/').unwrap();
        seeds.push(("rest", name.to_owned(), plain(rule).into_bytes()));
    }
    let order = "orders/01M83JXAHCC6MXR3EASG000000";
    let written = [
        (
            "order",
            r#"POST /v1/orders
r-1

{"customer": "customers/acme", "currencyCode": "EUR", "lines": [{"item": "items/tea", "quantity": "2", "unitPrice": 450}]}"#
                .to_owned(),
        ),
        (
            "list",
            "GET /v1/orders?customer=customers%2Facme&states=PENDING&states=CONFIRMED&pageSize=7&create_time_from=2026-01-02T03:04:05Z\n\n\n"
                .to_owned(),
        ),
        ("customer", "POST /v1/customers?customerId=acme\nr-2\n\n{\"currencyCode\": \"EUR\", \"creditLimit\": \"500\"}".to_owned()),
        ("mask", "PATCH /v1/customers/acme?updateMask=displayName,creditLimit\n\n\n{\"displayName\": \"Acme\", \"creditLimit\": 7}".to_owned()),
        ("lines", format!("POST /v1/{order}:cancelLines\nr-3\n\n{{\"lines\": [{{\"item\": \"items/tea\", \"quantity\": 1}}], \"reason\": \"late\"}}")),
        ("watch", "GET /v1/orders:watch\n\nAAAA\n".to_owned()),
        ("deep", format!("POST /v1/orders\n\n\n{}{}", "{\"lines\":[".repeat(8), "]}".repeat(8))),
    ];
    seeds.extend(
        written
            .into_iter()
            .map(|(name, text)| ("rest", format!("written-{name}"), text.into_bytes())),
    );
    // What is answered.
    let shown = v1::Order {
        name: order.into(),
        customer: "customers/acme".into(),
        create_time: Some(prost_types::Timestamp {
            seconds: 1_767_323_045,
            nanos: 7,
        }),
        ..v1::Order::default()
    };
    let at = ROUTES
        .iter()
        .position(|rule| rule.method.ends_with("/GetOrder"))
        .unwrap();
    let answered = [
        format!("{} {at}\n\n\n", rest::ANSWERED).into_bytes(),
        shown.encode_to_vec(),
    ]
    .concat();
    seeds.push(("rest", "answered".into(), answered));
    // And as gRPC has them: each with the number of its method.
    for (method, bytes) in [
        (
            "/docket.v1.OrderService/GetOrder",
            v1::GetOrderRequest { name: order.into() }.encode_to_vec(),
        ),
        (
            "/docket.v1.CustomerService/CreateCustomer",
            v1::CreateCustomerRequest {
                customer_id: "acme".into(),
                customer: Some(v1::Customer {
                    currency_code: "EUR".into(),
                    credit_limit: 500,
                    ..Default::default()
                }),
                request_id: "r-2".into(),
            }
            .encode_to_vec(),
        ),
        (
            "/docket.v1.WebhookService/CreateWebhook",
            v1::CreateWebhookRequest {
                webhook: Some(v1::Webhook {
                    url: "https://shop.example/hook".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
    ] {
        let (_, name) = method.rsplit_once('/').unwrap();
        let number = request::number_of(method).unwrap();
        seeds.push(("request", name.to_owned(), [&[number], &*bytes].concat()));
    }
    seeds
}
