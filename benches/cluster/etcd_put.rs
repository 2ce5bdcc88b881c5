//! Puts keys into an etcd as fast as it takes them: what `benches/cluster/run` holds Docket's cluster against.
//!
//! One key an order, with a value as long as what an order has in Docket's journal. The client is as lean as the one that drives
//! Docket: one thread, HTTP/2 connections that share what is in flight, and each connection to the next node. Prints `puts_per_second
//! p50_us p99_us`.

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use docket_soak::Latencies;
use http::uri::PathAndQuery;
use tonic::{Request, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;

/// `etcdserverpb.PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`, of which only that it came matters.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

/// What is asked for on the command line.
struct Plan {
    endpoints: Vec<String>,
    in_flight: usize,
    connections: usize,
    value: usize,
    duration: Duration,
}

impl Plan {
    fn read() -> Result<Self, Box<dyn Error>> {
        let arguments: Vec<_> = env::args().skip(1).collect();
        let [endpoints, in_flight, connections, value, seconds] = &arguments[..] else {
            return Err("usage: etcd_put ADDRESS,… IN_FLIGHT CONNECTIONS VALUE_BYTES SECONDS".into());
        };
        Ok(Self {
            endpoints: endpoints.split(',').map(str::to_owned).collect(),
            in_flight: in_flight.parse()?,
            connections: connections.parse()?,
            value: value.parse()?,
            duration: Duration::from_secs_f64(seconds.parse()?),
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let plan = Plan::read()?;
    let mut channels = Vec::new();
    for number in 0..plan.connections {
        let address = plan.endpoints[number % plan.endpoints.len()].clone();
        channels.push(
            Endpoint::from_shared(address)?
                .tcp_nodelay(true)
                .connect()
                .await?,
        );
    }
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
    let begun = Instant::now();
    let slots = (0..plan.in_flight).map(|slot| {
        let (mut client, path) = (Grpc::new(channels[slot % channels.len()].clone()), path.clone());
        let (value, end) = (vec![b'o'; plan.value], begun + plan.duration);
        async move {
            let mut latencies = Latencies::default();
            for number in 0_u64.. {
                let started = Instant::now();
                if started >= end {
                    break;
                }
                let put = Put {
                    key: format!("order/{slot:04}-{number:08}").into_bytes(),
                    value: value.clone(),
                };
                client.ready().await?;
                let codec = ProstCodec::<Put, Done>::default();
                client.unary(Request::new(put), path.clone(), codec).await?;
                latencies.record(started.elapsed());
            }
            Ok::<_, Box<dyn Error>>(latencies)
        }
    });
    let mut all = Latencies::default();
    for done in futures::future::join_all(slots).await {
        all.add(&done?);
    }
    let rate = all.count() as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} {} {}", all.us(0.5), all.us(0.99));
    Ok(())
}
