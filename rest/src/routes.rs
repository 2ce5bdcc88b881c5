//! Which method of the contract is which verb and path. What a method is not in, it cannot be reached by.
//!
//! Names of resources are their paths (`orders/01M8…` is `/v1/orders/01M8…`); what is neither of making, showing, listing, changing and
//! removing one is `POST` with a verb of its own behind a colon (google.aip.dev/136).

/// A verb of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads, and may be repeated.
    Get,
    /// Does something.
    Post,
    /// Sets the whole.
    Put,
    /// Changes what is named.
    Patch,
    /// Removes.
    Delete,
}

impl Verb {
    /// As HTTP has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What of a request its body is. What is neither in the path nor in the body is in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing: there is none.
    None,
    /// All but what the path says.
    Whole,
    /// This field.
    Field(&'static str),
}

/// How a method is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The method, as gRPC has it.
    pub method: &'static str,
    /// The verb.
    pub verb: Verb,
    /// The path with its variables.
    pub path: &'static str,
    /// The body.
    pub body: Body,
}

const fn rule(method: &'static str, verb: Verb, path: &'static str, body: Body) -> Rule {
    Rule {
        method,
        verb,
        path,
        body,
    }
}

/// Methods that are not reached so, and why.
pub const UNROUTED: [(&str, &str); 6] = [
    (
        "/docket.v1.OrderService/PlaceOrders",
        "a stream both ways: HTTP/1.1 clients send all of a request before they read the answer, and would wait for themselves",
    ),
    (
        "/docket.v1.BackupService/BeginBackup",
        "of use with `ReadBackup` alone",
    ),
    (
        "/docket.v1.BackupService/ReadBackup",
        "bytes of snapshots and logs, for `docket backup create`",
    ),
    (
        "/docket.v1.StandbyService/RegisterStandby",
        "a standby registers itself",
    ),
    (
        "/docket.v1.StandbyService/FollowLogs",
        "bytes of logs, for a standby",
    ),
    (
        "/docket.v1.StandbyService/ExchangeEpochs",
        "what a primary and its standby ask of one another",
    ),
];

/// Every method but those of [`UNROUTED`].
pub const ROUTES: &[Rule] = &[
    rule(
        "/docket.v1.OrderService/PlaceOrder",
        Verb::Post,
        "/v1/orders",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/GetOrder",
        Verb::Get,
        "/v1/{name=orders/*}",
        Body::None,
    ),
    // A thousand names are more than a query has room for.
    rule(
        "/docket.v1.OrderService/BatchGetOrders",
        Verb::Post,
        "/v1/orders:batchGet",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/ListOrders",
        Verb::Get,
        "/v1/orders",
        Body::None,
    ),
    rule(
        "/docket.v1.OrderService/WatchOrders",
        Verb::Get,
        "/v1/orders:watch",
        Body::None,
    ),
    rule(
        "/docket.v1.OrderService/ListOrderEvents",
        Verb::Get,
        "/v1/{parent=orders/*}/events",
        Body::None,
    ),
    rule(
        "/docket.v1.OrderService/CancelOrder",
        Verb::Post,
        "/v1/{name=orders/*}:cancel",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/CancelOrderLines",
        Verb::Post,
        "/v1/{name=orders/*}:cancelLines",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/EditOrder",
        Verb::Post,
        "/v1/{name=orders/*}:edit",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/ShipOrder",
        Verb::Post,
        "/v1/{name=orders/*}:ship",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/OpenFulfilment",
        Verb::Post,
        "/v1/{name=orders/*}:openFulfilment",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/CancelFulfilment",
        Verb::Post,
        "/v1/{name=orders/*}:cancelFulfilment",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/DeliverFulfilment",
        Verb::Post,
        "/v1/{name=orders/*}:deliverFulfilment",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/RequestReturn",
        Verb::Post,
        "/v1/{name=orders/*}:requestReturn",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/ResolveReturn",
        Verb::Post,
        "/v1/{name=orders/*}:resolveReturn",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/ReceiveReturn",
        Verb::Post,
        "/v1/{name=orders/*}:receiveReturn",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/CloseReturn",
        Verb::Post,
        "/v1/{name=orders/*}:closeReturn",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/RefundOrder",
        Verb::Post,
        "/v1/{name=orders/*}:refund",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/RetryPayment",
        Verb::Post,
        "/v1/{name=orders/*}:retryPayment",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/HoldOrder",
        Verb::Post,
        "/v1/{name=orders/*}:hold",
        Body::Whole,
    ),
    rule(
        "/docket.v1.OrderService/ReleaseOrderHold",
        Verb::Post,
        "/v1/{name=orders/*}:releaseHold",
        Body::Whole,
    ),
    rule(
        "/docket.v1.CustomerService/CreateCustomer",
        Verb::Post,
        "/v1/customers",
        Body::Field("customer"),
    ),
    rule(
        "/docket.v1.CustomerService/GetCustomer",
        Verb::Get,
        "/v1/{name=customers/*}",
        Body::None,
    ),
    rule(
        "/docket.v1.CustomerService/UpdateCustomer",
        Verb::Patch,
        "/v1/{customer.name=customers/*}",
        Body::Field("customer"),
    ),
    rule(
        "/docket.v1.CustomerService/ListCustomers",
        Verb::Get,
        "/v1/customers",
        Body::None,
    ),
    rule(
        "/docket.v1.CustomerService/CreditAccount",
        Verb::Post,
        "/v1/{name=customers/*}:credit",
        Body::Whole,
    ),
    rule(
        "/docket.v1.ItemService/CreateItem",
        Verb::Post,
        "/v1/items",
        Body::Field("item"),
    ),
    rule(
        "/docket.v1.ItemService/GetItem",
        Verb::Get,
        "/v1/{name=items/*}",
        Body::None,
    ),
    rule(
        "/docket.v1.ItemService/UpdateItem",
        Verb::Patch,
        "/v1/{item.name=items/*}",
        Body::Field("item"),
    ),
    rule(
        "/docket.v1.ItemService/AdjustStock",
        Verb::Post,
        "/v1/{name=items/*}:adjustStock",
        Body::Whole,
    ),
    rule(
        "/docket.v1.ItemService/ListItems",
        Verb::Get,
        "/v1/items",
        Body::None,
    ),
    rule(
        "/docket.v1.AuthService/Register",
        Verb::Post,
        "/v1/accounts",
        Body::Whole,
    ),
    rule(
        "/docket.v1.AuthService/AssignRole",
        Verb::Post,
        "/v1/{name=accounts/*}:assignRole",
        Body::Whole,
    ),
    rule(
        "/docket.v1.AuthService/Login",
        Verb::Post,
        "/v1/sessions:login",
        Body::Whole,
    ),
    rule(
        "/docket.v1.AuthService/Refresh",
        Verb::Post,
        "/v1/sessions:refresh",
        Body::Whole,
    ),
    rule(
        "/docket.v1.AuthService/Logout",
        Verb::Post,
        "/v1/sessions:logout",
        Body::Whole,
    ),
    rule(
        "/docket.v1.AuthService/CreateApiKey",
        Verb::Post,
        "/v1/apiKeys",
        Body::Whole,
    ),
    rule(
        "/docket.v1.AuthService/ListApiKeys",
        Verb::Get,
        "/v1/apiKeys",
        Body::None,
    ),
    rule(
        "/docket.v1.AuthService/RevokeApiKey",
        Verb::Post,
        "/v1/{name=apiKeys/*}:revoke",
        Body::Whole,
    ),
    rule(
        "/docket.v1.WebhookService/CreateWebhook",
        Verb::Post,
        "/v1/webhooks",
        Body::Field("webhook"),
    ),
    rule(
        "/docket.v1.WebhookService/GetWebhook",
        Verb::Get,
        "/v1/{name=webhooks/*}",
        Body::None,
    ),
    rule(
        "/docket.v1.WebhookService/ListWebhooks",
        Verb::Get,
        "/v1/webhooks",
        Body::None,
    ),
    rule(
        "/docket.v1.WebhookService/UpdateWebhook",
        Verb::Patch,
        "/v1/{webhook.name=webhooks/*}",
        Body::Field("webhook"),
    ),
    rule(
        "/docket.v1.WebhookService/DeleteWebhook",
        Verb::Delete,
        "/v1/{name=webhooks/*}",
        Body::None,
    ),
    rule(
        "/docket.v1.WebhookService/RotateWebhookSecret",
        Verb::Post,
        "/v1/{name=webhooks/*}:rotateSecret",
        Body::Whole,
    ),
    rule(
        "/docket.v1.WebhookService/TestWebhook",
        Verb::Post,
        "/v1/{name=webhooks/*}:test",
        Body::Whole,
    ),
    rule(
        "/docket.v1.WebhookService/ListDeadLetters",
        Verb::Get,
        "/v1/{parent=webhooks/*}/deadLetters",
        Body::None,
    ),
    rule(
        "/docket.v1.WebhookService/ReplayWebhook",
        Verb::Post,
        "/v1/{name=webhooks/*}:replay",
        Body::Whole,
    ),
    rule(
        "/docket.v1.NodeService/GetNodeStatus",
        Verb::Get,
        "/v1/node",
        Body::None,
    ),
    rule(
        "/docket.v1.NodeService/VerifyBooks",
        Verb::Post,
        "/v1/node:verifyBooks",
        Body::Whole,
    ),
    rule(
        "/docket.v1.NodeService/GetClusterStatus",
        Verb::Get,
        "/v1/cluster",
        Body::None,
    ),
    rule(
        "/docket.v1.NodeService/MoveReplica",
        Verb::Post,
        "/v1/cluster:moveReplica",
        Body::Whole,
    ),
    rule(
        "/docket.v1.NodeService/BalanceLeaders",
        Verb::Post,
        "/v1/cluster:balanceLeaders",
        Body::Whole,
    ),
    rule(
        "/docket.v1.NodeService/FinalizeUpgrade",
        Verb::Post,
        "/v1/cluster:finalizeUpgrade",
        Body::Whole,
    ),
    rule(
        "/docket.v1.StandbyService/GetStandby",
        Verb::Get,
        "/v1/standby",
        Body::None,
    ),
    rule(
        "/docket.v1.StandbyService/PromoteStandby",
        Verb::Post,
        "/v1/standby:promote",
        Body::Whole,
    ),
    rule(
        "/docket.v1.StandbyService/ForgetStandby",
        Verb::Post,
        "/v1/standby:forget",
        Body::Whole,
    ),
    rule(
        "/docket.v1.NodeService/DrainNode",
        Verb::Post,
        "/v1/nodes/{node_id}:drain",
        Body::Whole,
    ),
    rule(
        "/docket.v1.NodeService/UndrainNode",
        Verb::Post,
        "/v1/nodes/{node_id}:undrain",
        Body::Whole,
    ),
    rule(
        "/docket.v1.NodeService/RemoveNode",
        Verb::Post,
        "/v1/nodes/{node_id}:remove",
        Body::Whole,
    ),
    rule(
        "/docket.v1.NodeService/SetFlag",
        Verb::Put,
        "/v1/{name=flags/*}",
        Body::Whole,
    ),
    rule(
        "/docket.v1.NodeService/UnsetFlag",
        Verb::Delete,
        "/v1/{name=flags/*}",
        Body::None,
    ),
    rule(
        "/docket.v1.NodeService/GetFlag",
        Verb::Get,
        "/v1/{name=flags/*}",
        Body::None,
    ),
    rule(
        "/docket.v1.NodeService/ListFlags",
        Verb::Get,
        "/v1/flags",
        Body::None,
    ),
    rule(
        "/docket.v1.NodeService/SetLimit",
        Verb::Put,
        "/v1/{limit.name=limits/*/*}",
        Body::Field("limit"),
    ),
    rule(
        "/docket.v1.NodeService/UnsetLimit",
        Verb::Delete,
        "/v1/{name=limits/*/*}",
        Body::None,
    ),
    rule(
        "/docket.v1.NodeService/GetLimit",
        Verb::Get,
        "/v1/{name=limits/*/*}",
        Body::None,
    ),
    rule(
        "/docket.v1.NodeService/ListLimits",
        Verb::Get,
        "/v1/limits",
        Body::None,
    ),
];
