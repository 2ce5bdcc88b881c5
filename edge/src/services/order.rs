//! `OrderService`.

use std::sync::Arc;

use docket_actors::{CallError, Docket, ListOrders, OrderBatch, PlaceOrder, Placing, Shipment};
use docket_engine::{
    Rejection,
    access::{Denied, Owner, Principal, Role},
};
use docket_proto::{
    ReceivedOrder,
    api::{
        events::{self, EVENTS_BYTES_MAX},
        feed::{FeedOf, watch_orders},
        fulfil,
        listing::{self, ListFrom},
        names::shard_name,
        orders,
        show::{expire_at, order_to_proto},
    },
    server::order_service_server::OrderService,
    v1::{
        BatchGetOrdersRequest, BatchGetOrdersResponse, CancelFulfilmentRequest, CancelOrderLinesRequest,
        CancelOrderRequest, CloseReturnRequest, DeliverFulfilmentRequest, EditOrderRequest, GetOrderRequest,
        HoldOrderRequest, ListOrderEventsRequest, ListOrderEventsResponse, ListOrdersRequest,
        ListOrdersResponse, OpenFulfilmentRequest, Order, OrderEvent, ReceiveReturnRequest,
        RefundOrderRequest, ReleaseOrderHoldRequest, RequestReturnRequest, ResolveReturnRequest,
        RetryPaymentRequest, ShipOrderRequest, WatchOrdersRequest, order_change::Kind, order_hold,
    },
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    accept, allowed, context,
    customer::own,
    place_orders::{Answers, StreamBounds},
    steering::may_stream,
    watch_orders::{WatchBounds, Watching},
};
use crate::{
    errors::Refusal,
    gate::{CallContext, admission::Permit},
};

/// The service.
pub(crate) struct OrderApi {
    docket: Docket,
    bounds: StreamBounds,
    watch: WatchBounds,
    /// What resume tokens belong to.
    feed: FeedOf,
}

impl OrderApi {
    pub(crate) fn new(docket: Docket, bounds: StreamBounds, watch: WatchBounds) -> Self {
        let (cluster, shards) = docket.positions_of();
        Self {
            docket,
            bounds,
            watch,
            feed: FeedOf { cluster, shards },
        }
    }
}

impl OrderApi {
    /// An order as it is read: with when what is held of it expires.
    fn read(&self, context: &CallContext, order: &docket_engine::Order) -> Order {
        let mut shown = shown(context, order);
        if let Some(until) = self.docket.held_until(order) {
            expire_at(&mut shown, until);
        }
        shown
    }

    async fn move_return(
        &self,
        context: &CallContext,
        asked: fulfil::MoveReturn,
    ) -> Result<Response<Order>, Status> {
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let what = (asked.number, asked.step);
        let order = self
            .docket
            .move_return(call, asked.order, what, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(context, &order)))
    }
}

/// The order as the actors take it.
pub(super) fn taken(asked: orders::PlaceOrder) -> (Option<String>, PlaceOrder) {
    let orders::PlaceOrder {
        request_id,
        customer,
        currency,
        lines,
        provider,
    } = asked;
    (
        request_id,
        PlaceOrder {
            customer,
            currency,
            lines,
            provider,
        },
    )
}

/// Begins an order for whom the context says.
fn placing(docket: &Docket, context: &CallContext, request: &ReceivedOrder) -> Result<Placing, Refusal> {
    let asked = accept(orders::place_order(request, docket.ids()))?;
    own(context, &asked.customer, &[])?;
    let (request_id, order) = taken(asked);
    Ok(docket.place_order(context.call(request_id), order))
}

/// An order as its caller may see it.
fn shown(context: &CallContext, order: &docket_engine::Order) -> Order {
    let mut shown = order_to_proto(order);
    hide_staff(&context.principal, &mut shown);
    shown
}

/// Whether there may be something in an order that [`hide_staff`] hides.
pub(super) fn has_staff(principal: &Principal, order: &docket_engine::Order) -> bool {
    principal.role == Role::Customer && (order.life.is_some() || order.provider.is_some())
}

/// Why an order is held, and who of the shop did what, is not its customer's to know.
pub(super) fn hide_staff(principal: &Principal, order: &mut Order) {
    if principal.role == Role::Customer {
        order.holds.clear();
        for fulfilment in &mut order.fulfilments {
            fulfilment.opened_by.clear();
            fulfilment.shipped_by.clear();
            fulfilment.delivered_by.clear();
            fulfilment.cancelled_by.clear();
        }
        order.returns.iter_mut().for_each(|it| it.requested_by.clear());
        order.refunds.iter_mut().for_each(|it| it.refunded_by.clear());
        // As the holds that follow from them.
        for step in order
            .payment
            .iter_mut()
            .flat_map(|payment| &mut payment.steps)
            .skip(1)
        {
            step.decline_reason.clear();
            step.reference.clear();
        }
    }
}

/// The same of what happened to it.
fn hide_staff_of(principal: &Principal, event: &mut OrderEvent) {
    if principal.role == Role::Customer {
        if event.requested_by != principal.account.as_str() {
            event.requested_by.clear();
            event.request_id.clear();
            event.trace_id.clear();
        }
        if matches!(event.kind(), Kind::Held | Kind::HoldReleased) {
            event.hold_reason = order_hold::Reason::Unspecified.into();
            event.note.clear();
        }
        // As in the order's payment.
        if matches!(event.kind(), Kind::PaymentDone | Kind::PaymentDeclined) {
            event.note.clear();
        }
        if event.kind() == Kind::EditRefused
            && let Some(rejection) = &mut event.rejection
            && rejection.reason == PAYMENT_DECLINED
        {
            // Who asked for the edit was told why.
            rejection.message = "the payment was declined".into();
        }
    }
}

/// What a provider has declined.
const PAYMENT_DECLINED: &str = "PAYMENT_DECLINED";

/// Begins what the service does with a `PlaceOrderRequest` that another node has let in, as a call or from a stream, without the service: a request
/// and a response of HTTP for each would cost more than the order.
pub(crate) fn place_forwarded(
    docket: &Docket,
    context: &CallContext,
    message: &[u8],
    permit: &Permit,
) -> Result<Placing, Refusal> {
    let request = ReceivedOrder::decode(message);
    let request = request.map_err(|error| Refusal::unreadable(&Status::internal(error.to_string())))?;
    let placing = placing(docket, context, &request)?;
    if request.is_paid_outside() {
        permit.wait_outside();
    }
    Ok(placing)
}

#[tonic::async_trait]
impl OrderService for OrderApi {
    async fn place_order(&self, request: Request<ReceivedOrder>) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let placing = placing(&self.docket, &context, request.get_ref())?;
        if request.get_ref().is_paid_outside()
            && let Some(permit) = request.extensions().get::<Arc<Permit>>()
        {
            permit.wait_outside();
        }
        let order = placing.await.map_err(Refusal::from)?;
        Ok(Response::new(order_to_proto(&order)))
    }

    type PlaceOrdersStream = Answers;

    async fn place_orders(
        &self,
        request: Request<Streaming<ReceivedOrder>>,
    ) -> Result<Response<Answers>, Status> {
        let context = context(&request)?;
        may_stream(&self.docket, &context.principal)?;
        let answers = Answers::new(self.docket.clone(), self.bounds.clone(), context, request);
        Ok(Response::new(answers))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let id = accept(orders::get_order(request.get_ref()))?;
        let order = self
            .docket
            .get_order(context.call(None), id)
            .await
            .map_err(Refusal::from)?;
        allowed(&context, Owner::Customer(&order.customer), || {
            Rejection::OrderNotFound { order: id }.into()
        })?;
        Ok(Response::new(self.read(&context, &order)))
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        let context = context(&request)?;
        let asked = accept(listing::list_orders(request.get_ref()))?;
        // Why an order is held is not its customer's to know.
        if asked.filter.customer.is_none() || !asked.filter.holds.is_empty() {
            allowed(&context, Owner::Everybody, || Denied::Role.into())?;
        }
        let query = ListOrders {
            filter: asked.filter.clone(),
            before: asked.from.before,
            left_out: asked.from.left_out.clone(),
            limit: asked.limit,
            partial: asked.partial,
        };
        let page = self
            .docket
            .list_orders(context.call(None), query)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(ListOrdersResponse {
            orders: page
                .orders
                .iter()
                .map(|order| self.read(&context, order))
                .collect(),
            next_page_token: page.next.map_or_else(String::new, |next| {
                asked.next_page_token(&ListFrom {
                    before: Some(next),
                    left_out: page.left_out,
                })
            }),
            unreachable: page.unreachable.into_iter().map(shard_name).collect(),
        }))
    }

    async fn batch_get_orders(
        &self,
        request: Request<BatchGetOrdersRequest>,
    ) -> Result<Response<BatchGetOrdersResponse>, Status> {
        let context = context(&request)?;
        let ids = accept(listing::batch_get_orders(request.get_ref()))?;
        let batch = self.docket.batch_get_orders(context.call(None), &ids);
        let orders = match batch.await.map_err(Refusal::from)? {
            OrderBatch::All(orders) => orders,
            OrderBatch::TooLarge { fitting } => return Err(Refusal::batch_too_large(fitting).into()),
        };
        for order in &orders {
            allowed(&context, Owner::Customer(&order.customer), || {
                Rejection::OrderNotFound { order: order.id }.into()
            })?;
        }
        let orders = orders.iter().map(|order| self.read(&context, order)).collect();
        Ok(Response::new(BatchGetOrdersResponse { orders }))
    }

    async fn list_order_events(
        &self,
        request: Request<ListOrderEventsRequest>,
    ) -> Result<Response<ListOrderEventsResponse>, Status> {
        let context = context(&request)?;
        let asked = accept(events::list_order_events(request.get_ref()))?;
        let order = self.docket.get_order(context.call(None), asked.order);
        let order = order.await.map_err(Refusal::from)?;
        allowed(&context, Owner::Customer(&order.customer), || {
            Rejection::OrderNotFound { order: asked.order }.into()
        })?;
        let (mut events, more) = asked.page(&order, EVENTS_BYTES_MAX).map_err(|broken| {
            tracing::error!(%broken, "an order does not tell what happened to it");
            Refusal::from(CallError::Broken)
        })?;
        for event in &mut events {
            hide_staff_of(&context.principal, event);
        }
        Ok(Response::new(ListOrderEventsResponse {
            events,
            next_page_token: more.map(|last| asked.next_page_token(last)).unwrap_or_default(),
        }))
    }

    type WatchOrdersStream = Watching;

    async fn watch_orders(&self, request: Request<WatchOrdersRequest>) -> Result<Response<Watching>, Status> {
        let context = context(&request)?;
        let asked = accept(watch_orders(request.get_ref(), &self.feed))?;
        if asked.customer.is_none() {
            allowed(&context, Owner::Everybody, || Denied::Role.into())?;
        }
        let headers = request.into_parts().0.into_headers();
        let watching =
            Watching::begin(&self.docket, &self.watch, context, headers, asked, &self.feed).await?;
        Ok(Response::new(watching))
    }

    async fn cancel_order(&self, request: Request<CancelOrderRequest>) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(orders::cancel_order(request.get_ref()))?;
        // Whose the order is only its actor knows: it enforces the owner that the call names.
        let call = context.call(asked.request_id);
        let order = self
            .docket
            .cancel_order(call, asked.order, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn cancel_order_lines(
        &self,
        request: Request<CancelOrderLinesRequest>,
    ) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::cancel_order_lines(request.get_ref()))?;
        // Whose the order is only its actor knows: it enforces the owner that the call names.
        let call = context.call(asked.request_id);
        let order = self
            .docket
            .cancel_order_lines(call, asked.order, asked.lines, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn edit_order(&self, request: Request<EditOrderRequest>) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::edit_order(request.get_ref()))?;
        // As above.
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let order = self
            .docket
            .edit_order(call, asked.order, asked.lines, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn request_return(
        &self,
        request: Request<RequestReturnRequest>,
    ) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::request_return(request.get_ref()))?;
        // As above.
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let what = (asked.lines, asked.note);
        let order = self
            .docket
            .request_return(call, asked.order, what, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn resolve_return(
        &self,
        request: Request<ResolveReturnRequest>,
    ) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::resolve_return(request.get_ref()))?;
        self.move_return(&context, asked).await
    }

    async fn receive_return(
        &self,
        request: Request<ReceiveReturnRequest>,
    ) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::receive_return(request.get_ref()))?;
        self.move_return(&context, asked).await
    }

    async fn close_return(&self, request: Request<CloseReturnRequest>) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::close_return(request.get_ref()))?;
        self.move_return(&context, asked).await
    }

    async fn refund_order(&self, request: Request<RefundOrderRequest>) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::refund_order(request.get_ref()))?;
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let what = (asked.amount, asked.note);
        let order = self
            .docket
            .refund_order(call, asked.order, what, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn retry_payment(&self, request: Request<RetryPaymentRequest>) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::retry_payment(request.get_ref()))?;
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let order = self
            .docket
            .retry_payment(call, asked.order, asked.number, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn ship_order(&self, request: Request<ShipOrderRequest>) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::ship_order(request.get_ref()))?;
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let shipment = Shipment {
            lines: asked.lines,
            fulfilment: asked.fulfilment,
            carrier: asked.carrier,
            tracking: asked.tracking,
        };
        let order = self
            .docket
            .ship_order(call, asked.order, shipment, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn open_fulfilment(
        &self,
        request: Request<OpenFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::open_fulfilment(request.get_ref()))?;
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let order = self
            .docket
            .open_fulfilment(call, asked.order, asked.lines, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn cancel_fulfilment(
        &self,
        request: Request<CancelFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::cancel_fulfilment(request.get_ref()))?;
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let order = self
            .docket
            .cancel_fulfilment(call, asked.order, asked.fulfilment, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn deliver_fulfilment(
        &self,
        request: Request<DeliverFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(fulfil::deliver_fulfilment(request.get_ref()))?;
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let order = self
            .docket
            .deliver_fulfilment(call, asked.order, asked.fulfilment, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn hold_order(&self, request: Request<HoldOrderRequest>) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(orders::hold_order(request.get_ref()))?;
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let why = (asked.reason, asked.note);
        let order = self
            .docket
            .hold_order(call, asked.order, why, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }

    async fn release_order_hold(
        &self,
        request: Request<ReleaseOrderHoldRequest>,
    ) -> Result<Response<Order>, Status> {
        let context = context(&request)?;
        let asked = accept(orders::release_order_hold(request.get_ref()))?;
        let (call, by) = (context.call(asked.request_id), context.principal.account.clone());
        let order = self
            .docket
            .release_order_hold(call, asked.order, asked.reason, by, asked.expected)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(shown(&context, &order)))
    }
}
