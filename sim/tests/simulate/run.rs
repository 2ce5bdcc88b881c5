//! One run: everything of it from one seed, in a process of its own, so that nothing that was drawn, counted or allocated before has
//! a part in it.

use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use docket_cluster::{PeerTls, certificate_name};
use docket_soak::history;
use parking_lot::Mutex;
use rand::{SeedableRng, rngs::StdRng};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    nemesis::{LATENCY_MS, Nemesis},
    provider::Provider,
    seat::{CLUSTER, NODES, Seat, id, name},
    shop::{Shop, Stage},
    trace,
};

/// How long a run may take, in simulated time: everything in it has a shorter limit of its own.
const RUN_MAX: Duration = Duration::from_secs(300);
/// So many segments may wait in a socket.
const TCP_CAPACITY: usize = 4_096;

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs one seed and tells what came of it, in one line and, of what is wrong, some more.
pub fn run(seed: u64, print: bool) -> ExitCode {
    // Before anything else: whatever asks the system for chance asks this.
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(seed));
    let tls = certificates();
    let _clocks = mad_turmoil::time::SimClocksGuard::init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or("no message");
        PANICS.lock().push(format!("panic at {at}: {why}"));
    }));
    trace::begin(print);

    let provider = Provider::new(seed);
    let seats: Vec<_> = (0..NODES)
        .zip(tls)
        .map(|(at, tls)| Seat::new(at, seed, tls, &provider))
        .collect();
    let shop = Shop::new(seats.clone(), Arc::clone(&provider), seed);
    let stage = Arc::new(Stage::default());
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(RUN_MAX)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(LATENCY_MS))
        .tcp_capacity(TCP_CAPACITY)
        .enable_random_order()
        .build();
    for seat in &seats {
        let (seat, shop) = (Arc::clone(seat), Arc::clone(&shop));
        sim.host(name(seat.at), move || {
            let (seat, shop) = (Arc::clone(&seat), Arc::clone(&shop));
            async move {
                if let Err(why) = seat.live().await {
                    shop.fault(why);
                }
                Ok(())
            }
        });
    }
    {
        let (shop, stage) = (Arc::clone(&shop), Arc::clone(&stage));
        sim.client("clients", async move {
            shop.play(stage).await;
            Ok(())
        });
    }
    let mut nemesis = Nemesis::new(seed, seats);
    let mut elapsed_ms = 0;
    loop {
        trace::tick(elapsed_ms);
        match sim.step() {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => {
                shop.fault(format!("the simulation ended: {error}"));
                break;
            }
        }
        elapsed_ms += 1;
        if !PANICS.lock().is_empty() || !shop.faults.lock().is_empty() {
            break;
        }
        if stage.open.load(Ordering::Relaxed)
            && !stage.healed.load(Ordering::Relaxed)
            && nemesis.step(&mut sim, elapsed_ms)
        {
            stage.healed.store(true, Ordering::Relaxed);
        }
    }
    let (hash, events) = trace::end();
    let mut faults = std::mem::take(&mut *shop.faults.lock());
    faults.append(&mut PANICS.lock());
    let mut undecided = 0;
    let mut calls = 0;
    if let Some(recorder) = shop.recorder.lock().take() {
        // What still runs has a share of it; nothing of it runs any more.
        let mut history = recorder.so_far();
        history.books = shop.books.lock().take();
        calls = history.operations.len();
        let verdict = history::check(&history);
        undecided = verdict.undecided.len();
        faults.extend(verdict.faults.iter().map(ToString::to_string));
    }
    println!(
        "seed={seed} hash={hash:016x} events={events} simulated_ms={elapsed_ms} faults={} calls={calls} undecided={undecided} \
         again_ms={} wrong={}",
        nemesis.faults,
        stage.recovery_ms.load(Ordering::Relaxed),
        faults.len()
    );
    let (asked, led) = (provider.counts(), shop.led.lock());
    println!(
        "  by the provider: {} done, {} declined, {} asked again, {} lost; of keepers: {led:?}",
        asked.done, asked.declined, asked.asked_again, asked.lost
    );
    for fault in &faults {
        println!("{fault}");
    }
    // Not in order: whatever a drop would do is no part of the run.
    std::process::exit(i32::from(!faults.is_empty()))
}

/// A certificate for each node: a node has one, even where nobody asks for it.
fn certificates() -> Vec<PeerTls> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let made = (0..NODES).map(|at| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([certificate_name(CLUSTER, id(at))]).unwrap();
        PeerTls {
            authority: authority.pem(),
            certificate: params.signed_by(&key, &authority).unwrap().pem(),
            key: key.serialize_pem(),
        }
    });
    made.collect()
}
