//! One call an order.

use bytes::{BufMut as _, Bytes};
use docket_proto::v1::{GetOrderRequest, Order, PlaceOrderRequest, order_service_client::OrderServiceClient};
use tonic::{
    Code, Response, Status,
    client::Grpc as AnyClient,
    codec::{Codec, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_prost::ProstCodec;

use super::lane::{Lane, Operation, Pending, Slot};
use crate::{Target, Workload};

/// Whom a caller calls.
pub trait Calls {
    /// An order as it is asked for.
    type Place;
    /// The order of operation `n`, and what it will cost.
    fn draw(workload: &Workload, n: u64) -> (Self::Place, i64);
    /// Places an order.
    async fn place(&mut self, order: Self::Place) -> Result<Order, Code>;
    /// Reads an order.
    async fn read(&mut self, name: String) -> Result<Order, Code>;
}

/// A server.
pub struct Grpc<'a> {
    pub client: OrderServiceClient<Channel>,
    pub target: &'a Target,
}

impl Calls for Grpc<'_> {
    type Place = PlaceOrderRequest;

    fn draw(workload: &Workload, n: u64) -> (PlaceOrderRequest, i64) {
        workload.order(n)
    }

    async fn place(&mut self, order: PlaceOrderRequest) -> Result<Order, Code> {
        answer(self.client.place_order(self.target.call(order)).await)
    }

    async fn read(&mut self, name: String) -> Result<Order, Code> {
        answer(
            self.client
                .get_order(self.target.call(GetOrderRequest { name }))
                .await,
        )
    }
}

/// A server that is asked with bytes ([`Workload::written_order`]).
pub struct Written<'a>(pub Grpc<'a>, pub AnyClient<Channel>);

impl Calls for Written<'_> {
    type Place = Bytes;

    fn draw(workload: &Workload, n: u64) -> (Bytes, i64) {
        workload.written_order(n)
    }

    async fn place(&mut self, order: Bytes) -> Result<Order, Code> {
        let Self(Grpc { target, .. }, client) = self;
        if let Err(cause) = client.ready().await {
            return Err(Status::from_error(cause.into()).code());
        }
        let path = PathAndQuery::from_static("/docket.v1.OrderService/PlaceOrder");
        answer(client.unary(target.call(order), path, AsBytes).await)
    }

    async fn read(&mut self, name: String) -> Result<Order, Code> {
        self.0.read(name).await
    }
}

/// Requests that are bytes already.
struct AsBytes;

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Order;
    type Encoder = Self;
    type Decoder = <ProstCodec<PlaceOrderRequest, Order> as Codec>::Decoder;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<PlaceOrderRequest, Order>::default().decoder()
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

fn answer(result: Result<Response<Order>, Status>) -> Result<Order, Code> {
    result.map(Response::into_inner).map_err(|status| status.code())
}

/// Calls again and again, one at a time, until the time is up.
pub async fn call_in_turn<C: Calls>(lane: &Lane<'_>, slot: &Slot, mut calls: C) {
    while let Some(intended) = lane.turn().await {
        let (n, operation) = lane.begin(intended);
        let done = match operation {
            Operation::Place => {
                let (order, total) = C::draw(lane.workload, n);
                slot.0.set(Some(n));
                let pending = Pending::sent_now(intended, total);
                let answer = calls.place(order).await;
                slot.0.set(None);
                lane.placed(n, pending, answer)
            }
            Operation::Read(order) => {
                let answer = calls.read(order.name()).await;
                lane.read(order, intended, answer)
            }
        };
        if !done {
            lane.pause().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use docket_proto::v1::order::State;
    use futures::future::join_all;
    use tokio::time::{Instant, sleep, sleep_until};

    use super::*;
    use crate::{
        Shape, Tally,
        drive::{
            Progress,
            pacer::{Pacer, Timer},
        },
    };

    /// Answers at once, but for one second in which it answers nobody.
    struct Stalls {
        from: Instant,
    }

    impl Stalls {
        async fn answer(&self) {
            sleep(Duration::from_millis(1)).await;
            let now = Instant::now();
            if (self.from..self.from + Duration::from_secs(1)).contains(&now) {
                sleep_until(self.from + Duration::from_secs(1)).await;
            }
        }
    }

    impl Calls for Stalls {
        type Place = PlaceOrderRequest;

        fn draw(workload: &Workload, n: u64) -> (PlaceOrderRequest, i64) {
            workload.order(n)
        }

        async fn place(&mut self, order: PlaceOrderRequest) -> Result<Order, Code> {
            self.answer().await;
            let total = order
                .lines
                .iter()
                .map(|line| line.quantity * line.unit_price)
                .sum();
            let name = "orders/01KAVQX5C8R7ZJ3M9T2B4N6P8Q".into();
            Ok(Order {
                name,
                total,
                state: State::Confirmed.into(),
                ..Order::default()
            })
        }

        async fn read(&mut self, _: String) -> Result<Order, Code> {
            Err(Code::Unimplemented)
        }
    }

    /// Three seconds of a load on a server that stalls in the second one.
    async fn tally(pacer: impl Fn(Instant, Instant) -> Pacer) -> Tally {
        let started = Instant::now();
        let end = started + Duration::from_secs(3);
        let from = started + Duration::from_secs(1);
        let workload = Workload::new(Shape::default()).unwrap();
        let progress = Progress::default();
        let lane = Lane::new(&workload, &progress, pacer(started, end), 2, started);
        join_all(
            lane.slots()
                .iter()
                .map(|slot| call_in_turn(&lane, slot, Stalls { from })),
        )
        .await;
        lane.close()
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_sees_a_stall_in_every_call_that_was_meant_for_it() {
        let tally = tally(|first, end| Pacer::open(first, 0.01, end, Timer::Tokio)).await;
        // 100 a second for three seconds; those of the second one were due all along it, and waited for its end.
        assert_eq!((tally.orders.count(), tally.missed), (300, 0));
        assert_eq!(tally.orders.max_us() / 10_000, 100);
        let (half, nine_tenths) = (tally.orders.us(0.5), tally.orders.us(0.9));
        assert!(half < 5_000, "{half}");
        assert!((650_000..750_000).contains(&nine_tenths), "{nine_tenths}");
        assert!(tally.late.max_us() > 900_000, "{}", tally.late.max_us());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_sees_it_once_a_caller() {
        let tally = tally(|_, end| Pacer::closed(end)).await;
        assert_eq!(tally.orders.max_us() / 10_000, 100);
        assert!(tally.orders.us(0.99) < 5_000, "{}", tally.orders.us(0.99));
        assert_eq!(tally.late.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_open_loop_never_started_is_told() {
        // Two callers of a millisecond each can do 2,000 a second.
        let tally = tally(|first, end| Pacer::open(first, 0.000_1, end, Timer::Tokio)).await;
        assert_eq!(tally.orders.count() + tally.missed, 30_000);
        assert!(tally.missed > 20_000, "{}", tally.missed);
    }
}
