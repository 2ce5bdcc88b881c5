//! What a call is about, by its method and message: it is done where that is led.
//!
//! Lists and batches are about nothing of these: every node gathers them itself, and asks the leaders how far they are.

use docket_actors::Key;
use docket_engine::{CustomerId, Sku};
use docket_proto::{
    ReceivedOrder,
    api::names::{parse_customer_name, parse_item_name, parse_order_name},
    v1,
};
use prost::Message;

/// How the key of a method's message is found.
type Find = fn(&[u8]) -> Option<Key>;

/// Every method that is done where its key is led, in the order of their paths.
static KEYED: [(&str, Find); 48] = [
    ("/docket.v1.AuthService/AssignRole", accounts),
    ("/docket.v1.AuthService/CreateApiKey", accounts),
    ("/docket.v1.AuthService/ListApiKeys", accounts),
    ("/docket.v1.AuthService/Login", accounts),
    ("/docket.v1.AuthService/Logout", accounts),
    ("/docket.v1.AuthService/Refresh", accounts),
    ("/docket.v1.AuthService/Register", accounts),
    ("/docket.v1.AuthService/RevokeApiKey", accounts),
    ("/docket.v1.CustomerService/CreateCustomer", |message| {
        let request = decode::<v1::CreateCustomerRequest>(message)?;
        CustomerId::new(&request.customer_id).ok().map(Key::Customer)
    }),
    ("/docket.v1.CustomerService/CreditAccount", |message| {
        customer(&decode::<v1::CreditAccountRequest>(message)?.name)
    }),
    ("/docket.v1.CustomerService/GetCustomer", |message| {
        customer(&decode::<v1::GetCustomerRequest>(message)?.name)
    }),
    ("/docket.v1.CustomerService/UpdateCustomer", |message| {
        customer(&decode::<v1::UpdateCustomerRequest>(message)?.customer?.name)
    }),
    ("/docket.v1.ItemService/AdjustStock", |message| {
        item(&decode::<v1::AdjustStockRequest>(message)?.name)
    }),
    ("/docket.v1.ItemService/CreateItem", |message| {
        let request = decode::<v1::CreateItemRequest>(message)?;
        Sku::new(&request.sku).ok().map(Key::Item)
    }),
    ("/docket.v1.ItemService/GetItem", |message| {
        item(&decode::<v1::GetItemRequest>(message)?.name)
    }),
    ("/docket.v1.ItemService/UpdateItem", |message| {
        item(&decode::<v1::UpdateItemRequest>(message)?.item?.name)
    }),
    ("/docket.v1.NodeService/FinalizeUpgrade", accounts),
    ("/docket.v1.NodeService/SetFlag", accounts),
    ("/docket.v1.NodeService/SetLimit", accounts),
    ("/docket.v1.NodeService/UnsetFlag", accounts),
    ("/docket.v1.NodeService/UnsetLimit", accounts),
    ("/docket.v1.OrderService/CancelFulfilment", |message| {
        order(&decode::<v1::CancelFulfilmentRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/CancelOrder", |message| {
        order(&decode::<v1::CancelOrderRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/CancelOrderLines", |message| {
        order(&decode::<v1::CancelOrderLinesRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/CloseReturn", |message| {
        order(&decode::<v1::CloseReturnRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/DeliverFulfilment", |message| {
        order(&decode::<v1::DeliverFulfilmentRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/EditOrder", |message| {
        order(&decode::<v1::EditOrderRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/GetOrder", |message| {
        order(&decode::<v1::GetOrderRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/HoldOrder", |message| {
        order(&decode::<v1::HoldOrderRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/ListOrderEvents", |message| {
        order(&decode::<v1::ListOrderEventsRequest>(message)?.parent)
    }),
    ("/docket.v1.OrderService/OpenFulfilment", |message| {
        order(&decode::<v1::OpenFulfilmentRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/PlaceOrder", |message| {
        customer(ReceivedOrder::decode(message).ok()?.customer())
    }),
    ("/docket.v1.OrderService/ReceiveReturn", |message| {
        order(&decode::<v1::ReceiveReturnRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/RefundOrder", |message| {
        order(&decode::<v1::RefundOrderRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/ReleaseOrderHold", |message| {
        order(&decode::<v1::ReleaseOrderHoldRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/RequestReturn", |message| {
        order(&decode::<v1::RequestReturnRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/ResolveReturn", |message| {
        order(&decode::<v1::ResolveReturnRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/RetryPayment", |message| {
        order(&decode::<v1::RetryPaymentRequest>(message)?.name)
    }),
    ("/docket.v1.OrderService/ShipOrder", |message| {
        order(&decode::<v1::ShipOrderRequest>(message)?.name)
    }),
    ("/docket.v1.WebhookService/CreateWebhook", accounts),
    ("/docket.v1.WebhookService/DeleteWebhook", accounts),
    ("/docket.v1.WebhookService/GetWebhook", accounts),
    ("/docket.v1.WebhookService/ListDeadLetters", accounts),
    ("/docket.v1.WebhookService/ListWebhooks", accounts),
    ("/docket.v1.WebhookService/ReplayWebhook", accounts),
    ("/docket.v1.WebhookService/RotateWebhookSecret", accounts),
    ("/docket.v1.WebhookService/TestWebhook", accounts),
    ("/docket.v1.WebhookService/UpdateWebhook", accounts),
];

/// Whether calls of this method are about something that is led somewhere.
pub(in crate::gate) fn is_keyed(method: &str) -> bool {
    find(method).is_some()
}

/// What this call is about; `None` where its message says nothing that could be, which its service refuses.
pub(super) fn key_of(method: &str, message: &[u8]) -> Option<Key> {
    find(method)?(message)
}

/// Whether a method changes nothing, so that it may be done twice.
pub(super) fn is_read(method: &str) -> bool {
    let name = method.rsplit('/').next().unwrap_or_default();
    name.starts_with("Get") || name.starts_with("List")
}

fn find(method: &str) -> Option<Find> {
    let at = KEYED.binary_search_by(|(path, _)| (*path).cmp(method)).ok()?;
    KEYED.get(at).map(|(_, find)| *find)
}

/// Webhooks, flags and limits are led by who leads accounts.
fn accounts(_message: &[u8]) -> Option<Key> {
    Some(Key::Accounts)
}

fn decode<M: Message + Default>(message: &[u8]) -> Option<M> {
    M::decode(message).ok()
}

fn customer(name: &str) -> Option<Key> {
    parse_customer_name(name).ok().map(Key::Customer)
}

fn item(name: &str) -> Option<Key> {
    parse_item_name(name).ok().map(Key::Item)
}

fn order(name: &str) -> Option<Key> {
    parse_order_name(name).ok().map(Key::Order)
}

#[cfg(test)]
mod tests {
    use docket_engine::access::METHOD_TABLE;

    use super::*;

    #[test]
    fn every_method_is_about_something_or_one_that_every_node_answers() {
        assert!(KEYED.is_sorted_by_key(|(path, _)| *path));
        let not_keyed: Vec<_> = METHOD_TABLE
            .iter()
            .map(|rule| rule.path)
            .filter(|path| path.starts_with("/docket.v1.") && !is_keyed(path))
            .collect();
        assert_eq!(
            not_keyed,
            [
                // What a node has, it hands out itself.
                "/docket.v1.BackupService/BeginBackup",
                "/docket.v1.BackupService/ReadBackup",
                "/docket.v1.CustomerService/ListCustomers",
                "/docket.v1.ItemService/ListItems",
                // What changes the cluster finds the meta group's leader by itself.
                "/docket.v1.NodeService/BalanceLeaders",
                "/docket.v1.NodeService/DrainNode",
                "/docket.v1.NodeService/GetClusterStatus",
                // What a node goes by, it says itself.
                "/docket.v1.NodeService/GetFlag",
                "/docket.v1.NodeService/GetLimit",
                "/docket.v1.NodeService/GetNodeStatus",
                "/docket.v1.NodeService/ListFlags",
                "/docket.v1.NodeService/ListLimits",
                "/docket.v1.NodeService/MoveReplica",
                "/docket.v1.NodeService/RemoveNode",
                "/docket.v1.NodeService/UndrainNode",
                "/docket.v1.NodeService/VerifyBooks",
                // Of any number of customers: every node gathers them, as it does lists.
                "/docket.v1.OrderService/BatchGetOrders",
                "/docket.v1.OrderService/ListOrders",
                "/docket.v1.OrderService/PlaceOrders",
                "/docket.v1.OrderService/WatchOrders",
                // What a cluster is to another: each node knows, or finds the meta group's leader.
                "/docket.v1.StandbyService/ExchangeEpochs",
                "/docket.v1.StandbyService/FollowLogs",
                "/docket.v1.StandbyService/ForgetStandby",
                "/docket.v1.StandbyService/GetStandby",
                "/docket.v1.StandbyService/PromoteStandby",
                "/docket.v1.StandbyService/RegisterStandby",
            ]
        );
        for (path, _) in &KEYED {
            assert!(METHOD_TABLE.iter().any(|rule| rule.path == *path), "{path}");
        }
    }

    #[test]
    fn an_order_is_about_its_customer_and_what_names_nothing_about_nothing() {
        let request = v1::PlaceOrderRequest {
            customer: "customers/ada".into(),
            ..Default::default()
        };
        let place = "/docket.v1.OrderService/PlaceOrder";
        let key = key_of(place, &request.encode_to_vec());
        assert_eq!(key, Some(Key::Customer(CustomerId::new("ada").unwrap())));
        assert_eq!(key_of(place, b""), None);
        assert_eq!(key_of(place, &[0xff]), None);
        assert!(is_read("/docket.v1.OrderService/GetOrder") && !is_read(place));
    }
}
