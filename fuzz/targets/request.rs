//! Requests of clients, from bytes to what the engine is asked, or to all that is wrong with them.
#![no_main]

use docket_proto::{
    NoIntern, ReceivedOrder,
    api::{auth, customers, events, fulfil, items, listing, orders},
    v1,
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// Decodes and checks one; what is wrong is said at least once, and never nothing.
fn check<M: Message + Default, T>(bytes: &[u8], take: impl FnOnce(&M) -> docket_proto::api::Checked<T>) {
    if let Ok(request) = M::decode(bytes)
        && let Err(violations) = take(&request)
    {
        assert!(!violations.is_empty());
        assert!(violations.iter().all(|violation| !violation.description.is_empty()));
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    match which % 26 {
        0 => {
            if let Ok(order) = ReceivedOrder::decode(bytes) {
                let _ = orders::place_order(&order, &NoIntern);
                let _ = orders::streamed_order(&order, &NoIntern);
                let again = ReceivedOrder::decode(&order.encode());
                assert!(again.is_ok_and(|again| again.lines().len() == order.lines().len()));
            }
        }
        1 => check::<v1::GetOrderRequest, _>(bytes, orders::get_order),
        2 => check::<v1::CancelOrderRequest, _>(bytes, orders::cancel_order),
        3 => check::<v1::ListOrdersRequest, _>(bytes, listing::list_orders),
        4 => check::<v1::BatchGetOrdersRequest, _>(bytes, listing::batch_get_orders),
        5 => check::<v1::ListOrderEventsRequest, _>(bytes, events::list_order_events),
        6 => check::<v1::CancelOrderLinesRequest, _>(bytes, fulfil::cancel_order_lines),
        7 => check::<v1::EditOrderRequest, _>(bytes, fulfil::edit_order),
        8 => check::<v1::ShipOrderRequest, _>(bytes, fulfil::ship_order),
        9 => check::<v1::OpenFulfilmentRequest, _>(bytes, fulfil::open_fulfilment),
        10 => check::<v1::CancelFulfilmentRequest, _>(bytes, fulfil::cancel_fulfilment),
        11 => check::<v1::DeliverFulfilmentRequest, _>(bytes, fulfil::deliver_fulfilment),
        12 => check::<v1::RequestReturnRequest, _>(bytes, fulfil::request_return),
        13 => check::<v1::ResolveReturnRequest, _>(bytes, fulfil::resolve_return),
        14 => check::<v1::ReceiveReturnRequest, _>(bytes, fulfil::receive_return),
        15 => check::<v1::CloseReturnRequest, _>(bytes, fulfil::close_return),
        16 => check::<v1::RefundOrderRequest, _>(bytes, fulfil::refund_order),
        17 => check::<v1::RetryPaymentRequest, _>(bytes, fulfil::retry_payment),
        18 => check::<v1::CreateCustomerRequest, _>(bytes, customers::create_customer),
        19 => check::<v1::UpdateCustomerRequest, _>(bytes, customers::update_customer),
        20 => check::<v1::CreditAccountRequest, _>(bytes, customers::credit_account),
        21 => check::<v1::CreateItemRequest, _>(bytes, items::create_item),
        22 => check::<v1::UpdateItemRequest, _>(bytes, items::update_item),
        23 => check::<v1::AdjustStockRequest, _>(bytes, items::adjust_stock),
        24 => check::<v1::RegisterRequest, _>(bytes, auth::register),
        _ => check::<v1::CreateApiKeyRequest, _>(bytes, auth::create_api_key),
    }
});
