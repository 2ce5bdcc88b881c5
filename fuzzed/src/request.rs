//! Requests of clients, from bytes to what the engine is asked, or to all that is wrong with them.

use docket_proto::{
    NoIntern, ReceivedOrder,
    api::{auth, customers, events, fulfil, items, listing, orders, steering, webhooks},
    v1,
};
use prost::Message;

/// Decodes and checks one; what is wrong is said at least once, and never nothing.
fn check<M: Message + Default, T>(bytes: &[u8], take: impl FnOnce(&M) -> docket_proto::api::Checked<T>) {
    if let Ok(request) = M::decode(bytes)
        && let Err(violations) = take(&request)
    {
        assert!(!violations.is_empty());
        assert!(
            violations
                .iter()
                .all(|violation| !violation.description.is_empty())
        );
    }
}

type Check = fn(&[u8]);

/// By their methods; their numbers are the first bytes of inputs, so that new ones come last.
const CHECKS: &[(&str, Check)] = &[
    ("/docket.v1.OrderService/PlaceOrder", place),
    ("/docket.v1.OrderService/GetOrder", |bytes| {
        check::<v1::GetOrderRequest, _>(bytes, orders::get_order)
    }),
    ("/docket.v1.OrderService/CancelOrder", |bytes| {
        check::<v1::CancelOrderRequest, _>(bytes, orders::cancel_order)
    }),
    ("/docket.v1.OrderService/ListOrders", |bytes| {
        check::<v1::ListOrdersRequest, _>(bytes, listing::list_orders)
    }),
    ("/docket.v1.OrderService/BatchGetOrders", |bytes| {
        check::<v1::BatchGetOrdersRequest, _>(bytes, listing::batch_get_orders)
    }),
    ("/docket.v1.OrderService/ListOrderEvents", |bytes| {
        check::<v1::ListOrderEventsRequest, _>(bytes, events::list_order_events)
    }),
    ("/docket.v1.OrderService/CancelOrderLines", |bytes| {
        check::<v1::CancelOrderLinesRequest, _>(bytes, fulfil::cancel_order_lines)
    }),
    ("/docket.v1.OrderService/EditOrder", |bytes| {
        check::<v1::EditOrderRequest, _>(bytes, fulfil::edit_order)
    }),
    ("/docket.v1.OrderService/ShipOrder", |bytes| {
        check::<v1::ShipOrderRequest, _>(bytes, fulfil::ship_order)
    }),
    ("/docket.v1.OrderService/OpenFulfilment", |bytes| {
        check::<v1::OpenFulfilmentRequest, _>(bytes, fulfil::open_fulfilment)
    }),
    ("/docket.v1.OrderService/CancelFulfilment", |bytes| {
        check::<v1::CancelFulfilmentRequest, _>(bytes, fulfil::cancel_fulfilment)
    }),
    ("/docket.v1.OrderService/DeliverFulfilment", |bytes| {
        check::<v1::DeliverFulfilmentRequest, _>(bytes, fulfil::deliver_fulfilment)
    }),
    ("/docket.v1.OrderService/RequestReturn", |bytes| {
        check::<v1::RequestReturnRequest, _>(bytes, fulfil::request_return)
    }),
    ("/docket.v1.OrderService/ResolveReturn", |bytes| {
        check::<v1::ResolveReturnRequest, _>(bytes, fulfil::resolve_return)
    }),
    ("/docket.v1.OrderService/ReceiveReturn", |bytes| {
        check::<v1::ReceiveReturnRequest, _>(bytes, fulfil::receive_return)
    }),
    ("/docket.v1.OrderService/CloseReturn", |bytes| {
        check::<v1::CloseReturnRequest, _>(bytes, fulfil::close_return)
    }),
    ("/docket.v1.OrderService/RefundOrder", |bytes| {
        check::<v1::RefundOrderRequest, _>(bytes, fulfil::refund_order)
    }),
    ("/docket.v1.OrderService/RetryPayment", |bytes| {
        check::<v1::RetryPaymentRequest, _>(bytes, fulfil::retry_payment)
    }),
    ("/docket.v1.CustomerService/CreateCustomer", |bytes| {
        check::<v1::CreateCustomerRequest, _>(bytes, customers::create_customer)
    }),
    ("/docket.v1.CustomerService/UpdateCustomer", |bytes| {
        check::<v1::UpdateCustomerRequest, _>(bytes, customers::update_customer)
    }),
    ("/docket.v1.CustomerService/CreditAccount", |bytes| {
        check::<v1::CreditAccountRequest, _>(bytes, customers::credit_account)
    }),
    ("/docket.v1.ItemService/CreateItem", |bytes| {
        check::<v1::CreateItemRequest, _>(bytes, items::create_item)
    }),
    ("/docket.v1.ItemService/UpdateItem", |bytes| {
        check::<v1::UpdateItemRequest, _>(bytes, items::update_item)
    }),
    ("/docket.v1.ItemService/AdjustStock", |bytes| {
        check::<v1::AdjustStockRequest, _>(bytes, items::adjust_stock)
    }),
    ("/docket.v1.AuthService/Register", |bytes| {
        check::<v1::RegisterRequest, _>(bytes, auth::register)
    }),
    ("/docket.v1.AuthService/CreateApiKey", |bytes| {
        check::<v1::CreateApiKeyRequest, _>(bytes, auth::create_api_key)
    }),
    ("/docket.v1.NodeService/SetFlag", |bytes| {
        check::<v1::SetFlagRequest, _>(bytes, steering::set_flag)
    }),
    ("/docket.v1.NodeService/UnsetFlag", |bytes| {
        check::<v1::UnsetFlagRequest, _>(bytes, steering::unset_flag)
    }),
    ("/docket.v1.NodeService/GetFlag", |bytes| {
        check::<v1::GetFlagRequest, _>(bytes, steering::get_flag)
    }),
    ("/docket.v1.NodeService/SetLimit", |bytes| {
        check::<v1::SetLimitRequest, _>(bytes, steering::set_limit)
    }),
    ("/docket.v1.NodeService/GetLimit", |bytes| {
        check::<v1::GetLimitRequest, _>(bytes, steering::get_limit)
    }),
    ("/docket.v1.NodeService/UnsetLimit", |bytes| {
        check::<v1::UnsetLimitRequest, _>(bytes, steering::unset_limit)
    }),
    ("/docket.v1.NodeService/ListLimits", |bytes| {
        check::<v1::ListLimitsRequest, _>(bytes, steering::list_limits)
    }),
    ("/docket.v1.WebhookService/CreateWebhook", |bytes| {
        check::<v1::CreateWebhookRequest, _>(bytes, |request| webhooks::create_webhook(request, false))
    }),
    ("/docket.v1.WebhookService/GetWebhook", |bytes| {
        check::<v1::GetWebhookRequest, _>(bytes, webhooks::get_webhook)
    }),
    ("/docket.v1.WebhookService/TestWebhook", |bytes| {
        check::<v1::TestWebhookRequest, _>(bytes, webhooks::test_webhook)
    }),
    ("/docket.v1.WebhookService/DeleteWebhook", |bytes| {
        check::<v1::DeleteWebhookRequest, _>(bytes, webhooks::delete_webhook)
    }),
    ("/docket.v1.WebhookService/UpdateWebhook", |bytes| {
        check::<v1::UpdateWebhookRequest, _>(bytes, |request| webhooks::update_webhook(request, false))
    }),
    ("/docket.v1.WebhookService/RotateWebhookSecret", |bytes| {
        check::<v1::RotateWebhookSecretRequest, _>(bytes, webhooks::rotate_secret)
    }),
    ("/docket.v1.WebhookService/ListWebhooks", |bytes| {
        check::<v1::ListWebhooksRequest, _>(bytes, webhooks::list_webhooks)
    }),
    ("/docket.v1.WebhookService/ListDeadLetters", |bytes| {
        check::<v1::ListDeadLettersRequest, _>(bytes, webhooks::list_dead_letters)
    }),
    ("/docket.v1.WebhookService/ReplayWebhook", |bytes| {
        check::<v1::ReplayWebhookRequest, _>(bytes, webhooks::replay_webhook)
    }),
];

fn place(bytes: &[u8]) {
    if let Ok(order) = ReceivedOrder::decode(bytes) {
        let _ = orders::place_order(&order, &NoIntern);
        let _ = orders::streamed_order(&order, &NoIntern);
        let again = ReceivedOrder::decode(&order.encode());
        assert!(again.is_ok_and(|again| again.lines().len() == order.lines().len()));
    }
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    if let Some((which, bytes)) = bytes.split_first() {
        CHECKS[usize::from(*which) % CHECKS.len()].1(bytes);
    }
}

/// A request of a method, where that is one of those that are checked here.
pub fn check_method(method: &str, bytes: &[u8]) {
    if let Some((_, check)) = CHECKS.iter().find(|(name, _)| *name == method) {
        check(bytes);
    }
}

/// The number of a method.
pub fn number_of(method: &str) -> Option<u8> {
    let at = CHECKS.iter().position(|(name, _)| *name == method)?;
    u8::try_from(at).ok()
}
