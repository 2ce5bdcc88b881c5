//! `docket demo`: a throw-away server, a few busy clients, and the books held against what the clients were told.

mod books;
mod script;
mod story;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use docket_edge::Sources;
use docket_proto::v1::Order;
use futures::future::try_join_all;
use serde_json::json;

use crate::{
    client::{Asked, Client, Credentials, Target},
    config::{Config, Log},
    failure::Failure,
    output::{Field, Format, Output, Records, Tone},
    serve::Running,
};
use books::{Books, Check};
use script::{CLIENTS, Diary, Kind};
use story::{Step, Story};

/// How long one call of the demo may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How many orders of one fate are shown.
const ORDERS_SHOWN: usize = 2;

/// Runs the demo.
///
/// # Errors
/// The server cannot be started, a call fails, or the books do not balance.
pub async fn run(output: &Output) -> Result<(), Failure> {
    let folder = tempfile::tempdir()
        .map_err(|cause| Failure::Other(format!("cannot make a folder for the demo's server: {cause}")))?;
    let mut config = Config::default();
    config.server.data_dir = folder.path().join("data");
    config.server.listen.set_port(0);
    config.admin.listen.set_port(0);
    crate::logging::start(&Log {
        level: "warn".to_owned(),
        ..config.log.clone()
    })?;

    let server = Running::start(&config, None, Sources::default()).await?;
    say(
        output,
        &format!(
            "a server runs at {}, in {}",
            server.grpc_address(),
            folder.path().display()
        ),
    );
    let played = play(&server, output).await;
    let stopped = server.stop().await;
    let (diaries, first, story) = played?;
    stopped?;

    say(
        output,
        "\nthe server is stopped and started again: everything comes back from its journal",
    );
    let server = Running::start(&config, None, Sources::default()).await?;
    let read = read(&server, &diaries, &story).await;
    let stopped = server.stop().await;
    let (second, told) = read?;
    stopped?;
    drop(folder);
    conclude(output, &diaries, (&first, &second), told)
}

/// Seeds, lets the clients play at the same time, and reads the books.
async fn play(server: &Running, output: &Output) -> Result<(Vec<Diary>, Books, Story), Failure> {
    let host = connect(server).await?;
    script::seed(&host).await?;
    let clients = try_join_all((0..CLIENTS).map(|_| connect(server))).await?;
    let started = Instant::now();
    let playing = clients
        .into_iter()
        .map(|client| tokio::spawn(async move { script::play(&client).await }));
    let played = try_join_all(playing).await;
    let played = played.map_err(|cause| Failure::Other(format!("a client of the demo panicked: {cause}")))?;
    let diaries = played.into_iter().collect::<Result<Vec<_>, _>>()?;
    let calls: usize = diaries
        .iter()
        .map(|diary| diary.placed.len() + diary.repeated.len() + 2)
        .sum();
    say(
        output,
        &format!(
            "{CLIENTS} clients made {calls} calls in {} ms, at the same time",
            started.elapsed().as_millis()
        ),
    );
    let books = books::open(&host, &diaries).await?;
    show(output, &diaries, &books)?;
    let story = story::play(&host).await?;
    tell(output, &story)?;
    Ok((diaries, books, story))
}

async fn read(server: &Running, diaries: &[Diary], story: &Story) -> Result<(Books, Check), Failure> {
    let client = connect(server).await?;
    let told = story::check(&client, story).await?;
    Ok((books::open(&client, diaries).await?, told))
}

/// Shows the life of one order.
fn tell(output: &Output, story: &Story) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return Ok(());
    }
    let row = |step: &Step| {
        let held = if step.order.holds.is_empty() { "" } else { ", held" };
        let payment = step.order.payment.as_ref();
        let payment = payment.map_or("", |payment| payment.state().as_str_name());
        vec![
            Field::text("what_happens", step.what),
            Field::text("state", &format!("{}{held}", step.order.state().as_str_name())),
            Field::text("payment", payment),
        ]
    };
    output.line("\nthe life of one order:\n")?;
    output.records(
        "life",
        &Records {
            columns: &["what_happens", "state", "payment"],
            rows: story.steps.iter().map(row).collect(),
        },
    )
}

async fn connect(server: &Running) -> Result<Client, Failure> {
    let target = Target {
        address: format!("http://{}", server.grpc_address()),
        ca: None,
        timeout: CALL_TIMEOUT,
    };
    let api_key_file = server.key_file().map(Path::to_owned);
    let credentials = Credentials::find(Asked {
        api_key_file,
        ..Asked::default()
    })?;
    Ok(Client::connect(&target, credentials).await?)
}

/// Shows what was asked and what became of it, and the books as they are now.
fn show(output: &Output, diaries: &[Diary], books: &Books) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return Ok(());
    }
    output.line("")?;
    let rows = Kind::ALL.map(|kind| asked(kind, diaries)).to_vec();
    output.records(
        "asked",
        &Records {
            columns: &["asked_for", "orders", "confirmed", "refused", "reason"],
            rows,
        },
    )?;
    output.line("")?;
    let shown = sample(&books.orders);
    output.page(&shown, "", None)?;
    output.line(&format!("({} of {} orders)\n", shown.len(), books.orders.len()))?;
    output.page(&books.customers, "", None)?;
    output.line("")?;
    output.page(&books.items, "", None)
}

/// Some orders of every fate.
fn sample(orders: &[Order]) -> Vec<Order> {
    let mut shown: Vec<Order> = Vec::new();
    for order in orders {
        let alike = |other: &&Order| {
            let reason = |order: &Order| order.rejection.as_ref().map(|rejection| rejection.reason.clone());
            other.state == order.state && reason(other) == reason(order)
        };
        if shown.iter().filter(alike).count() < ORDERS_SHOWN {
            shown.push(order.clone());
        }
    }
    shown
}

fn asked(kind: Kind, diaries: &[Diary]) -> Vec<Field> {
    let placed = || {
        diaries
            .iter()
            .flat_map(|diary| &diary.placed)
            .filter(|placed| placed.kind == kind)
    };
    let confirmed = placed().filter(|placed| placed.answer.is_ok()).count();
    let reason = placed()
        .find_map(|placed| placed.answer.as_ref().err())
        .map_or("", String::as_str);
    vec![
        Field::text("asked_for", kind.title()),
        Field::number("orders", placed().count()),
        Field::number("confirmed", confirmed),
        Field::number("refused", placed().count() - confirmed),
        Field::text("reason", reason),
    ]
}

/// Says whether the books balance, before and after the restart.
fn conclude(
    output: &Output,
    diaries: &[Diary],
    (first, second): (&Books, &Books),
    told: Check,
) -> Result<(), Failure> {
    let mut checks = books::check(first, diaries);
    let mut restarted = Check {
        rule: "all of that still holds after the restart",
        faults: Vec::new(),
    };
    restarted.faults.extend(
        books::check(second, diaries)
            .into_iter()
            .flat_map(|check| check.faults),
    );
    if first.orders != second.orders || first.customers != second.customers || first.items != second.items {
        restarted
            .faults
            .push("what is read differs from what was read before".to_owned());
    }
    checks.push(told);
    checks.push(restarted);

    let faults: usize = checks.iter().map(|check| check.faults.len()).sum();
    let row = |check: &Check| {
        let (text, tone) = match check.faults.as_slice() {
            [] => ("yes", Tone::Good),
            _ => ("NO", Tone::Bad),
        };
        vec![
            Field::text("rule", check.rule),
            Field::shown("holds", json!(check.faults.is_empty()), text).tone(tone),
            Field::shown("faults", json!(check.faults), ""),
        ]
    };
    output.line("")?;
    output.records(
        "checks",
        &Records {
            columns: &["rule", "holds"],
            rows: checks.iter().map(row).collect(),
        },
    )?;
    for fault in checks.iter().flat_map(|check| &check.faults) {
        output.note(fault);
    }
    if faults > 0 {
        return Err(Failure::Other(format!(
            "the books do not balance: {faults} faults"
        )));
    }
    output.line(&format!(
        "\nthe books balance: {} orders, nothing lost, nothing invented",
        first.orders.len()
    ))
}

/// Tells people how it goes; programs get the checks alone.
fn say(output: &Output, text: &str) {
    // A reader that went away is told nothing more, and the demo ends with its own result.
    let _ = output.line(text);
}
