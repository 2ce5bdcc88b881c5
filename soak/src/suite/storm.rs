//! Clients that connect, order once, and vanish: some with the answer, some without.

use std::time::Duration;

use docket_proto::{
    code_name,
    v1::{order::State, order_service_client::OrderServiceClient},
};
use futures::{StreamExt as _, stream};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::load::Round;
use crate::{Acknowledged, Error, Tally, drive::may_be_done};

/// Clients that come at once, every [`WAVE`].
const CLIENTS: usize = 256;
/// How often they come: a port of the client's stays taken for a while after its connection.
const WAVE: Duration = Duration::from_secs(1);
/// Connections that are opened at a time.
const AT_ONCE: usize = 64;
/// One client of so many does not wait for its answer.
const IMPATIENT: u64 = 4;
/// So long it waits, at most.
const PATIENCE: Duration = Duration::from_millis(2);
/// How long all others wait.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What became of a client's order.
enum End {
    Answered(Duration, Option<Acknowledged>, String),
    Refused(&'static str),
    /// It may be done or not.
    Unknown(&'static str),
    /// The client did not wait.
    Vanished,
}

/// Waves of clients until the round is over.
///
/// # Errors
/// None at present: a connection that is refused is counted as a call that failed.
pub async fn storm(round: &Round) -> Result<Tally, Error> {
    let began = Instant::now();
    let mut tally = Tally::default();
    let doors = Semaphore::new(AT_ONCE);
    while Instant::now() < round.end && !round.scene.progress.is_over() {
        let wave = Instant::now();
        let clients = stream::iter(0..CLIENTS).map(|_| client(round, &doors));
        let mut clients = clients.buffer_unordered(CLIENTS);
        while let Some((n, end)) = clients.next().await {
            enter(round, &mut tally, n, end);
        }
        let next = (wave + WAVE).min(round.end);
        sleep(next.saturating_duration_since(Instant::now())).await;
    }
    tally.elapsed = began.elapsed();
    Ok(tally)
}

fn enter(round: &Round, tally: &mut Tally, n: u64, end: End) {
    use std::sync::atomic::Ordering::Relaxed;
    let progress = &round.scene.progress;
    match end {
        End::Answered(took, acknowledged, shown) => {
            tally.orders.record(took);
            progress.acknowledged(acknowledged, took);
            match acknowledged {
                Some(acknowledged) => tally.ledger.acknowledged.push(acknowledged),
                None => tally
                    .ledger
                    .wrong(format!("operation {n} was answered with {shown}")),
            }
        }
        End::Refused(code) | End::Unknown(code) => {
            *tally.errors.entry(code).or_default() += 1;
            progress.failed.fetch_add(1, Relaxed);
            if code == code_name(tonic::Code::ResourceExhausted) {
                progress.refused.fetch_add(1, Relaxed);
            }
            if matches!(end, End::Unknown(_)) {
                tally.ledger.unknown.push(n);
            }
        }
        // That is what it is here for, and no failure.
        End::Vanished => tally.ledger.unknown.push(n),
    }
}

/// One client, from its connection to its end.
async fn client(round: &Round, doors: &Semaphore) -> (u64, End) {
    let n = round.workload.take();
    let connected = {
        // Closed by nobody.
        let _door = doors.acquire().await;
        round.target.connect().await
    };
    let Ok(channel) = connected else {
        return (n, End::Refused(code_name(tonic::Code::Unavailable)));
    };
    let (request, total) = round.workload.order(n);
    let mut client = OrderServiceClient::new(channel);
    let asked = Instant::now();
    let impatient = n.is_multiple_of(IMPATIENT);
    let most = if impatient { PATIENCE } else { ANSWER_MAX };
    let answer = tokio::time::timeout(most, client.place_order(round.target.call(request))).await;
    let end = match answer {
        Ok(Ok(order)) => {
            let order = order.into_inner();
            let right = order.state() == State::Confirmed && order.total == total;
            let acknowledged = Acknowledged::new(&order.name, n).filter(|_| right);
            End::Answered(asked.elapsed(), acknowledged, format!("{order:?}"))
        }
        Ok(Err(status)) if may_be_done(status.code()) => End::Unknown(code_name(status.code())),
        Ok(Err(status)) => End::Refused(code_name(status.code())),
        Err(_) if impatient => End::Vanished,
        Err(_) => End::Unknown(code_name(tonic::Code::DeadlineExceeded)),
    };
    (n, end)
}
