//! The methods of the contract, and what a client must know of each: what a call is about, and whether it can be done twice.

use std::marker::PhantomData;

use docket_proto::v1;

/// A method with requests of type `Q` and answers of type `A`.
pub struct Method<Q, A> {
    pub(crate) path: &'static str,
    /// The name of what a call is about: calls about the same are led by the same node.
    pub(crate) about: fn(&Q) -> Option<&str>,
    /// Whether a call that may have been done can be made again.
    pub(crate) repeatable: fn(&Q) -> bool,
    answers: PhantomData<fn() -> A>,
}

impl<Q, A> Method<Q, A> {
    const fn new(path: &'static str, about: fn(&Q) -> Option<&str>, repeatable: fn(&Q) -> bool) -> Self {
        Self {
            path,
            about,
            repeatable,
            answers: PhantomData,
        }
    }
}

/// All accounts are led by one node.
const ACCOUNTS: &str = "accounts";

macro_rules! methods {
    ($($name:ident: $path:literal, $request:ident => $answer:ident, $about:expr, $repeatable:expr;)*) => {
        $(
            #[doc = concat!("`", $path, "`.")]
            pub const $name: Method<v1::$request, v1::$answer> =
                Method::new(concat!("/docket.v1.", $path), $about, $repeatable);
        )*
    };
}

methods! {
    PLACE_ORDER: "OrderService/PlaceOrder", PlaceOrderRequest => Order,
        |r| Some(&r.customer), |r| !r.request_id.is_empty();
    GET_ORDER: "OrderService/GetOrder", GetOrderRequest => Order, |r| Some(&r.name), |_| true;
    LIST_ORDERS: "OrderService/ListOrders", ListOrdersRequest => ListOrdersResponse, |_| None, |_| true;
    BATCH_GET_ORDERS: "OrderService/BatchGetOrders", BatchGetOrdersRequest => BatchGetOrdersResponse,
        |_| None, |_| true;
    LIST_ORDER_EVENTS: "OrderService/ListOrderEvents", ListOrderEventsRequest => ListOrderEventsResponse,
        |r| Some(&r.parent), |_| true;
    CANCEL_ORDER: "OrderService/CancelOrder", CancelOrderRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    CANCEL_ORDER_LINES: "OrderService/CancelOrderLines", CancelOrderLinesRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    EDIT_ORDER: "OrderService/EditOrder", EditOrderRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    REQUEST_RETURN: "OrderService/RequestReturn", RequestReturnRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    RESOLVE_RETURN: "OrderService/ResolveReturn", ResolveReturnRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    RECEIVE_RETURN: "OrderService/ReceiveReturn", ReceiveReturnRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    CLOSE_RETURN: "OrderService/CloseReturn", CloseReturnRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    REFUND_ORDER: "OrderService/RefundOrder", RefundOrderRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    RETRY_PAYMENT: "OrderService/RetryPayment", RetryPaymentRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    SHIP_ORDER: "OrderService/ShipOrder", ShipOrderRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    OPEN_FULFILMENT: "OrderService/OpenFulfilment", OpenFulfilmentRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    CANCEL_FULFILMENT: "OrderService/CancelFulfilment", CancelFulfilmentRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    DELIVER_FULFILMENT: "OrderService/DeliverFulfilment", DeliverFulfilmentRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    HOLD_ORDER: "OrderService/HoldOrder", HoldOrderRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    RELEASE_ORDER_HOLD: "OrderService/ReleaseOrderHold", ReleaseOrderHoldRequest => Order,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    CREATE_CUSTOMER: "CustomerService/CreateCustomer", CreateCustomerRequest => Customer,
        |_| None, |r| !r.request_id.is_empty();
    GET_CUSTOMER: "CustomerService/GetCustomer", GetCustomerRequest => Customer, |r| Some(&r.name), |_| true;
    UPDATE_CUSTOMER: "CustomerService/UpdateCustomer", UpdateCustomerRequest => Customer,
        |r| Some(&r.customer.as_ref()?.name), |r| !r.request_id.is_empty();
    LIST_CUSTOMERS: "CustomerService/ListCustomers", ListCustomersRequest => ListCustomersResponse,
        |_| None, |_| true;
    CREDIT_ACCOUNT: "CustomerService/CreditAccount", CreditAccountRequest => Customer,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    CREATE_ITEM: "ItemService/CreateItem", CreateItemRequest => Item,
        |_| None, |r| !r.request_id.is_empty();
    GET_ITEM: "ItemService/GetItem", GetItemRequest => Item, |r| Some(&r.name), |_| true;
    UPDATE_ITEM: "ItemService/UpdateItem", UpdateItemRequest => Item,
        |r| Some(&r.item.as_ref()?.name), |r| !r.request_id.is_empty();
    ADJUST_STOCK: "ItemService/AdjustStock", AdjustStockRequest => Item,
        |r| Some(&r.name), |r| !r.request_id.is_empty();
    LIST_ITEMS: "ItemService/ListItems", ListItemsRequest => ListItemsResponse, |_| None, |_| true;
    // Done twice, these are two sessions, or a token that was used twice: only what was not done is repeated.
    LOGIN: "AuthService/Login", LoginRequest => Session, |_| Some(ACCOUNTS), |_| false;
    REFRESH: "AuthService/Refresh", RefreshRequest => Session, |_| Some(ACCOUNTS), |_| false;
    LOGOUT: "AuthService/Logout", LogoutRequest => LogoutResponse, |_| Some(ACCOUNTS), |_| true;
    REGISTER: "AuthService/Register", RegisterRequest => Account, |_| Some(ACCOUNTS), |_| false;
    ASSIGN_ROLE: "AuthService/AssignRole", AssignRoleRequest => Account, |_| Some(ACCOUNTS), |_| true;
    CREATE_API_KEY: "AuthService/CreateApiKey", CreateApiKeyRequest => CreateApiKeyResponse,
        |_| Some(ACCOUNTS), |_| false;
    REVOKE_API_KEY: "AuthService/RevokeApiKey", RevokeApiKeyRequest => ApiKey, |_| Some(ACCOUNTS), |_| true;
    LIST_API_KEYS: "AuthService/ListApiKeys", ListApiKeysRequest => ListApiKeysResponse,
        |_| Some(ACCOUNTS), |_| true;
    CREATE_WEBHOOK: "WebhookService/CreateWebhook", CreateWebhookRequest => CreateWebhookResponse,
        |_| Some(ACCOUNTS), |r| !r.request_id.is_empty();
    GET_WEBHOOK: "WebhookService/GetWebhook", GetWebhookRequest => Webhook, |_| Some(ACCOUNTS), |_| true;
    LIST_WEBHOOKS: "WebhookService/ListWebhooks", ListWebhooksRequest => ListWebhooksResponse,
        |_| Some(ACCOUNTS), |_| true;
    UPDATE_WEBHOOK: "WebhookService/UpdateWebhook", UpdateWebhookRequest => Webhook,
        |_| Some(ACCOUNTS), |r| !r.request_id.is_empty();
    // Done twice, the second time there is none.
    DELETE_WEBHOOK: "WebhookService/DeleteWebhook", DeleteWebhookRequest => DeleteWebhookResponse,
        |_| Some(ACCOUNTS), |_| false;
    ROTATE_WEBHOOK_SECRET: "WebhookService/RotateWebhookSecret",
        RotateWebhookSecretRequest => RotateWebhookSecretResponse,
        |_| Some(ACCOUNTS), |r| !r.request_id.is_empty();
    TEST_WEBHOOK: "WebhookService/TestWebhook", TestWebhookRequest => TestWebhookResponse,
        |_| Some(ACCOUNTS), |_| false;
    LIST_DEAD_LETTERS: "WebhookService/ListDeadLetters", ListDeadLettersRequest => ListDeadLettersResponse,
        |_| Some(ACCOUNTS), |_| true;
    REPLAY_WEBHOOK: "WebhookService/ReplayWebhook", ReplayWebhookRequest => ReplayWebhookResponse,
        |_| Some(ACCOUNTS), |r| !r.request_id.is_empty();
    GET_NODE_STATUS: "NodeService/GetNodeStatus", GetNodeStatusRequest => NodeStatus, |_| None, |_| true;
    GET_CLUSTER_STATUS: "NodeService/GetClusterStatus", GetClusterStatusRequest => ClusterStatus,
        |_| None, |_| true;
    SET_FLAG: "NodeService/SetFlag", SetFlagRequest => FeatureFlag, |_| Some(ACCOUNTS), |r| r.etag.is_empty();
    UNSET_FLAG: "NodeService/UnsetFlag", UnsetFlagRequest => FeatureFlag,
        |_| Some(ACCOUNTS), |r| r.etag.is_empty();
    GET_FLAG: "NodeService/GetFlag", GetFlagRequest => FeatureFlag, |_| None, |_| true;
    LIST_FLAGS: "NodeService/ListFlags", ListFlagsRequest => ListFlagsResponse, |_| None, |_| true;
    SET_LIMIT: "NodeService/SetLimit", SetLimitRequest => CallerLimit,
        |_| Some(ACCOUNTS), |r| r.limit.as_ref().is_none_or(|limit| limit.etag.is_empty());
    UNSET_LIMIT: "NodeService/UnsetLimit", UnsetLimitRequest => UnsetLimitResponse,
        |_| Some(ACCOUNTS), |r| r.etag.is_empty();
    GET_LIMIT: "NodeService/GetLimit", GetLimitRequest => CallerLimit, |_| None, |_| true;
    LIST_LIMITS: "NodeService/ListLimits", ListLimitsRequest => ListLimitsResponse, |_| None, |_| true;
    VERIFY_BOOKS: "NodeService/VerifyBooks", VerifyBooksRequest => VerifyBooksResponse, |_| None, |_| true;
}
