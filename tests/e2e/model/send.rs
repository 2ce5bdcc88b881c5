//! Commands as requests, and what comes back.

use docket_engine::{Line, ReturnStep};
use docket_proto::v1;
use prost_types::FieldMask;

use super::{
    commands::{Ask, Command, Meant},
    refused::{Refused, refused},
    show,
};
use crate::api::Api;

/// What a command was answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Customer(v1::Customer),
    Item(v1::Item),
    Order(Box<v1::Order>),
    Refused(Refused),
}

impl Command {
    pub async fn send(&self, api: &Api) -> Answer {
        let request_id = self.request_id.clone();
        let (mut customers, mut items, mut orders) = (api.customers(), api.items(), api.orders());
        let answer = match self.ask.clone() {
            Ask::CreateCustomer {
                id,
                name,
                currency,
                limit,
            } => {
                let request = v1::CreateCustomerRequest {
                    customer_id: id.to_string(),
                    customer: Some(v1::Customer {
                        display_name: name,
                        currency_code: currency.to_string(),
                        credit_limit: limit,
                        ..Default::default()
                    }),
                    request_id,
                };
                let reply = customers.create_customer(request).await;
                reply.map(|reply| Answer::Customer(reply.into_inner()))
            }
            Ask::UpdateCustomer {
                id,
                name,
                limit,
                etag,
            } => {
                let request = v1::UpdateCustomerRequest {
                    update_mask: mask(
                        ("display_name", name.is_some()),
                        ("credit_limit", limit.is_some()),
                    ),
                    customer: Some(v1::Customer {
                        name: format!("customers/{id}"),
                        display_name: name.unwrap_or_default(),
                        credit_limit: limit.unwrap_or_default(),
                        etag: shown(etag),
                        ..Default::default()
                    }),
                    request_id,
                };
                let reply = customers.update_customer(request).await;
                reply.map(|reply| Answer::Customer(reply.into_inner()))
            }
            Ask::CreditAccount { id, amount, etag } => {
                let request = v1::CreditAccountRequest {
                    name: format!("customers/{id}"),
                    amount,
                    request_id,
                    etag: shown(etag),
                };
                let reply = customers.credit_account(request).await;
                reply.map(|reply| Answer::Customer(reply.into_inner()))
            }
            Ask::CreateItem {
                sku,
                name,
                currency,
                price,
                on_hand,
            } => {
                let request = v1::CreateItemRequest {
                    sku: sku.to_string(),
                    item: Some(v1::Item {
                        display_name: name,
                        currency_code: currency.to_string(),
                        unit_price: price,
                        on_hand,
                        ..Default::default()
                    }),
                    request_id,
                };
                let reply = items.create_item(request).await;
                reply.map(|reply| Answer::Item(reply.into_inner()))
            }
            Ask::UpdateItem {
                sku,
                name,
                price,
                etag,
            } => {
                let request = v1::UpdateItemRequest {
                    update_mask: mask(("display_name", name.is_some()), ("unit_price", price.is_some())),
                    item: Some(v1::Item {
                        name: format!("items/{sku}"),
                        display_name: name.unwrap_or_default(),
                        unit_price: price.unwrap_or_default(),
                        etag: shown(etag),
                        ..Default::default()
                    }),
                    request_id,
                };
                let reply = items.update_item(request).await;
                reply.map(|reply| Answer::Item(reply.into_inner()))
            }
            Ask::AdjustStock { sku, delta, etag } => {
                let request = v1::AdjustStockRequest {
                    name: format!("items/{sku}"),
                    delta,
                    request_id,
                    etag: shown(etag),
                };
                let reply = items.adjust_stock(request).await;
                reply.map(|reply| Answer::Item(reply.into_inner()))
            }
            Ask::PlaceOrder {
                customer,
                currency,
                lines,
                payer,
            } => {
                let request = v1::PlaceOrderRequest {
                    request_id,
                    customer: format!("customers/{customer}"),
                    currency_code: currency.to_string(),
                    lines: lines.iter().map(ordered).collect(),
                    payment_method: payer.method().into(),
                };
                let reply = orders.place_order(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::CancelOrder { order, etag } => {
                let request = v1::CancelOrderRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                };
                let reply = orders.cancel_order(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::CancelOrderLines { order, lines, etag } => {
                let request = v1::CancelOrderLinesRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    lines: meant(&lines),
                };
                let reply = orders.cancel_order_lines(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::EditOrder { order, lines, etag } => {
                let request = v1::EditOrderRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    lines: meant(&lines),
                };
                let reply = orders.edit_order(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::ShipOrder {
                order,
                lines,
                carrier,
                tracking,
                etag,
            } => {
                let request = v1::ShipOrderRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    lines: meant(&lines),
                    carrier,
                    tracking_code: tracking,
                    fulfilment: 0,
                };
                let reply = orders.ship_order(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::OpenFulfilment { order, lines, etag } => {
                let request = v1::OpenFulfilmentRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    lines: meant(&lines),
                };
                let reply = orders.open_fulfilment(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::ShipFulfilment {
                order,
                fulfilment,
                carrier,
                tracking,
                etag,
            } => {
                let request = v1::ShipOrderRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    lines: Vec::new(),
                    carrier,
                    tracking_code: tracking,
                    fulfilment: fulfilment.try_into().unwrap(),
                };
                let reply = orders.ship_order(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::CancelFulfilment {
                order,
                fulfilment,
                etag,
            } => {
                let request = v1::CancelFulfilmentRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    fulfilment: fulfilment.try_into().unwrap(),
                };
                let reply = orders.cancel_fulfilment(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::DeliverFulfilment {
                order,
                fulfilment,
                etag,
            } => {
                let request = v1::DeliverFulfilmentRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    fulfilment: fulfilment.try_into().unwrap(),
                };
                let reply = orders.deliver_fulfilment(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::HoldOrder {
                order,
                reason,
                note,
                etag,
            } => {
                let request = v1::HoldOrderRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    reason: show::reason(reason).into(),
                    note,
                };
                let reply = orders.hold_order(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::ReleaseOrderHold { order, reason, etag } => {
                let request = v1::ReleaseOrderHoldRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    reason: show::reason(reason).into(),
                };
                let reply = orders.release_order_hold(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::RequestReturn {
                order,
                lines,
                note,
                etag,
            } => {
                let request = v1::RequestReturnRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    lines: meant(&lines),
                    note,
                };
                let reply = orders.request_return(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::MoveReturn {
                order,
                number,
                step,
                etag,
            } => {
                let (name, etag) = (format!("orders/{order}"), shown(etag));
                let return_number = number.try_into().unwrap();
                let (is_approved, note) = match &step {
                    ReturnStep::Decline { note } => (false, note.to_string()),
                    _ => (true, String::new()),
                };
                let reply = match step {
                    ReturnStep::Approve | ReturnStep::Decline { .. } => {
                        let request = v1::ResolveReturnRequest {
                            name,
                            request_id,
                            etag,
                            return_number,
                            approve: is_approved,
                            note,
                        };
                        orders.resolve_return(request).await
                    }
                    ReturnStep::Receive { restock } => {
                        let request = v1::ReceiveReturnRequest {
                            name,
                            request_id,
                            etag,
                            return_number,
                            restock,
                        };
                        orders.receive_return(request).await
                    }
                    ReturnStep::Close => {
                        let request = v1::CloseReturnRequest {
                            name,
                            request_id,
                            etag,
                            return_number,
                        };
                        orders.close_return(request).await
                    }
                };
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::RefundOrder {
                order,
                amount,
                note,
                etag,
            } => {
                let request = v1::RefundOrderRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    amount,
                    note,
                };
                let reply = orders.refund_order(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
            Ask::RetryPayment { order, step, etag } => {
                let request = v1::RetryPaymentRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    step: step.try_into().unwrap(),
                };
                let reply = orders.retry_payment(request).await;
                reply.map(|reply| Answer::Order(Box::new(reply.into_inner())))
            }
        };
        answer.unwrap_or_else(|status| Answer::Refused(refused(&status)))
    }
}

fn meant(lines: &Meant) -> Vec<v1::LineQuantity> {
    let named = lines.iter().map(|&(line, quantity)| v1::LineQuantity {
        line: line.into(),
        quantity,
    });
    named.collect()
}

fn mask(one: (&str, bool), other: (&str, bool)) -> Option<FieldMask> {
    let named = [one, other].into_iter().filter(|(_, named)| *named);
    let paths = named.map(|(path, _)| path.to_owned()).collect();
    Some(FieldMask { paths })
}

pub fn shown(etag: Option<u64>) -> String {
    etag.map(|number| format!("v{number}")).unwrap_or_default()
}

pub fn ordered(line: &Line) -> v1::OrderLine {
    v1::OrderLine {
        item: format!("items/{}", line.sku),
        quantity: line.quantity.0,
        unit_price: line.unit_price.0,
        ..v1::OrderLine::default()
    }
}
