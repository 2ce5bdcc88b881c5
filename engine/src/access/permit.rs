//! The rule that every call is held against: method × role × owner × scope.
//!
//! A call is checked twice. When it arrives, with what the request itself names; and where the owner is known only once
//! the resource is read (an order's customer), again then. What a caller may not see must answer exactly as what does
//! not exist: [`Denied::Hidden`] is therefore told apart from the other two, which say nothing about any resource.

use super::{Principal, Role, Scope};
use crate::CustomerId;

/// How far a role reaches with a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Not at all.
    Nothing,
    /// To what is its own: its customer and that customer's orders; its account's keys.
    Own,
    /// To everything.
    Everything,
}

/// What a call is about, as far as it is known when it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner<'a> {
    /// Not known yet: the resource has to be read first. The check must be made again with its owner.
    Unread,
    /// Nobody's: items, nodes.
    Nobody,
    /// Everybody's, such as the orders of all customers.
    Everybody,
    /// This customer's.
    Customer(&'a CustomerId),
    /// This account's.
    Account(&'a str),
}

/// Why a call is not permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Denied {
    /// The role does not allow this method, or not this way of calling it.
    #[error("the caller's role does not allow this")]
    Role,
    /// The credential lacks the scope.
    #[error("the caller's credential lacks the scope {0}")]
    Scope(Scope),
    /// The resource is another's: answer as if there were none.
    #[error("the caller does not see this resource")]
    Hidden,
}

/// Who may call a method that needs a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The scope that the credential needs.
    pub scope: Scope,
    /// How far role customer reaches.
    pub customer: Reach,
    /// How far role service reaches.
    pub service: Reach,
    /// How far role admin reaches.
    pub admin: Reach,
}

impl Grant {
    /// How far a role reaches.
    pub const fn reach(&self, role: Role) -> Reach {
        match role {
            Role::Customer => self.customer,
            Role::Service => self.service,
            Role::Admin => self.admin,
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MethodRule {
    /// The method's path, as HTTP/2 has it.
    pub path: &'static str,
    /// Who may call it; `None`: everyone, and no credential is looked at.
    pub grant: Option<Grant>,
}

/// Every method that there is, in the order of their paths. What has no row is not permitted.
#[rustfmt::skip]
pub static METHOD_TABLE: [MethodRule; 78] = {
    use Reach::{Everything as All, Nothing as No, Own};
    use Scope::{Access, Customers, Items, Operations, Orders, Read};
    [
        //                                                    needs       customer  service  admin
        row("/docket.v1.AuthService/AssignRole",              Access,     No,       No,      All),
        row("/docket.v1.AuthService/CreateApiKey",            Access,     Own,      Own,     All),
        row("/docket.v1.AuthService/ListApiKeys",             Access,     Own,      Own,     All),
        open("/docket.v1.AuthService/Login"),
        open("/docket.v1.AuthService/Logout"),
        open("/docket.v1.AuthService/Refresh"),
        row("/docket.v1.AuthService/Register",                Access,     No,       No,      All),
        row("/docket.v1.AuthService/RevokeApiKey",            Access,     Own,      Own,     All),
        // Who reads a backup has all accounts and keys.
        row("/docket.v1.BackupService/BeginBackup",           Operations, No,       No,      All),
        row("/docket.v1.BackupService/ReadBackup",            Access,     No,       No,      All),
        row("/docket.v1.CustomerService/CreateCustomer",      Customers,  No,       All,     All),
        row("/docket.v1.CustomerService/CreditAccount",       Customers,  No,       All,     All),
        row("/docket.v1.CustomerService/GetCustomer",         Read,       Own,      All,     All),
        row("/docket.v1.CustomerService/ListCustomers",       Read,       No,       All,     All),
        row("/docket.v1.CustomerService/UpdateCustomer",      Customers,  No,       All,     All),
        row("/docket.v1.ItemService/AdjustStock",             Items,      No,       All,     All),
        row("/docket.v1.ItemService/CreateItem",              Items,      No,       All,     All),
        row("/docket.v1.ItemService/GetItem",                 Read,       All,      All,     All),
        row("/docket.v1.ItemService/ListItems",               Read,       All,      All,     All),
        row("/docket.v1.ItemService/UpdateItem",              Items,      No,       All,     All),
        row("/docket.v1.NodeService/BalanceLeaders",          Operations, No,       No,      All),
        row("/docket.v1.NodeService/DrainNode",               Operations, No,       No,      All),
        row("/docket.v1.NodeService/FinalizeUpgrade",         Operations, No,       No,      All),
        row("/docket.v1.NodeService/GetClusterStatus",        Operations, No,       No,      All),
        row("/docket.v1.NodeService/GetFlag",                 Operations, No,       No,      All),
        row("/docket.v1.NodeService/GetLimit",                Operations, No,       No,      All),
        row("/docket.v1.NodeService/GetNodeStatus",           Operations, No,       No,      All),
        row("/docket.v1.NodeService/ListFlags",               Operations, No,       No,      All),
        row("/docket.v1.NodeService/ListLimits",              Operations, No,       No,      All),
        row("/docket.v1.NodeService/MoveReplica",             Operations, No,       No,      All),
        row("/docket.v1.NodeService/RemoveNode",              Operations, No,       No,      All),
        row("/docket.v1.NodeService/SetFlag",                 Operations, No,       No,      All),
        row("/docket.v1.NodeService/SetLimit",                Operations, No,       No,      All),
        row("/docket.v1.NodeService/UndrainNode",             Operations, No,       No,      All),
        row("/docket.v1.NodeService/UnsetFlag",               Operations, No,       No,      All),
        row("/docket.v1.NodeService/UnsetLimit",              Operations, No,       No,      All),
        row("/docket.v1.NodeService/VerifyBooks",             Operations, No,       No,      All),
        row("/docket.v1.OrderService/BatchGetOrders",         Read,       Own,      All,     All),
        row("/docket.v1.OrderService/CancelFulfilment",       Orders,     No,       All,     All),
        row("/docket.v1.OrderService/CancelOrder",            Orders,     Own,      All,     All),
        row("/docket.v1.OrderService/CancelOrderLines",       Orders,     Own,      All,     All),
        row("/docket.v1.OrderService/CloseReturn",            Orders,     No,       All,     All),
        row("/docket.v1.OrderService/DeliverFulfilment",      Orders,     No,       All,     All),
        row("/docket.v1.OrderService/EditOrder",              Orders,     Own,      All,     All),
        row("/docket.v1.OrderService/GetOrder",               Read,       Own,      All,     All),
        row("/docket.v1.OrderService/HoldOrder",              Orders,     No,       All,     All),
        row("/docket.v1.OrderService/ListOrderEvents",        Read,       Own,      All,     All),
        row("/docket.v1.OrderService/ListOrders",             Read,       Own,      All,     All),
        row("/docket.v1.OrderService/OpenFulfilment",         Orders,     No,       All,     All),
        row("/docket.v1.OrderService/PlaceOrder",             Orders,     Own,      All,     All),
        row("/docket.v1.OrderService/PlaceOrders",            Orders,     Own,      All,     All),
        row("/docket.v1.OrderService/ReceiveReturn",          Orders,     No,       All,     All),
        row("/docket.v1.OrderService/RefundOrder",            Orders,     No,       All,     All),
        row("/docket.v1.OrderService/ReleaseOrderHold",       Orders,     No,       All,     All),
        row("/docket.v1.OrderService/RequestReturn",          Orders,     Own,      All,     All),
        row("/docket.v1.OrderService/ResolveReturn",          Orders,     No,       All,     All),
        row("/docket.v1.OrderService/RetryPayment",           Orders,     No,       All,     All),
        row("/docket.v1.OrderService/ShipOrder",              Orders,     No,       All,     All),
        row("/docket.v1.OrderService/WatchOrders",            Read,       Own,      All,     All),
        open("/docket.v1.StandbyService/ExchangeEpochs"),
        row("/docket.v1.StandbyService/FollowLogs",           Access,     No,       No,      All),
        row("/docket.v1.StandbyService/ForgetStandby",        Access,     No,       No,      All),
        row("/docket.v1.StandbyService/GetStandby",           Operations, No,       No,      All),
        row("/docket.v1.StandbyService/PromoteStandby",       Access,     No,       No,      All),
        row("/docket.v1.StandbyService/RegisterStandby",      Access,     No,       No,      All),
        row("/docket.v1.WebhookService/CreateWebhook",         Operations, No,       No,      All),
        row("/docket.v1.WebhookService/DeleteWebhook",         Operations, No,       No,      All),
        row("/docket.v1.WebhookService/GetWebhook",            Operations, No,       No,      All),
        row("/docket.v1.WebhookService/ListDeadLetters",       Operations, No,       No,      All),
        row("/docket.v1.WebhookService/ListWebhooks",          Operations, No,       No,      All),
        row("/docket.v1.WebhookService/ReplayWebhook",         Operations, No,       No,      All),
        row("/docket.v1.WebhookService/RotateWebhookSecret",   Operations, No,       No,      All),
        row("/docket.v1.WebhookService/TestWebhook",           Operations, No,       No,      All),
        row("/docket.v1.WebhookService/UpdateWebhook",         Operations, No,       No,      All),
        open("/grpc.health.v1.Health/Check"),
        open("/grpc.health.v1.Health/Watch"),
        open("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
        open("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    ]
};

/// The row of a path; `None` where there is no such method.
pub fn rule_of(path: &str) -> Option<&'static MethodRule> {
    let at = METHOD_TABLE.binary_search_by(|row| row.path.cmp(path)).ok()?;
    METHOD_TABLE.get(at)
}

/// Whether a principal may make this call.
///
/// # Errors
/// Why not. With [`Owner::Unread`] only role and scope are checked: check again when the owner is known.
pub fn permit(principal: &Principal, grant: &Grant, owner: Owner<'_>) -> Result<(), Denied> {
    let reach = grant.reach(principal.role);
    if reach == Reach::Nothing {
        return Err(Denied::Role);
    }
    if !principal.scopes.has(grant.scope) {
        return Err(Denied::Scope(grant.scope));
    }
    if reach == Reach::Everything {
        return Ok(());
    }
    match owner {
        Owner::Unread => Ok(()),
        Owner::Customer(id) if principal.customer.as_ref() == Some(id) => Ok(()),
        Owner::Account(name) if principal.account.as_str() == name => Ok(()),
        Owner::Customer(_) | Owner::Account(_) => Err(Denied::Hidden),
        Owner::Nobody | Owner::Everybody => Err(Denied::Role),
    }
}

const fn row(path: &'static str, scope: Scope, customer: Reach, service: Reach, admin: Reach) -> MethodRule {
    MethodRule {
        path,
        grant: Some(Grant {
            scope,
            customer,
            service,
            admin,
        }),
    }
}

const fn open(path: &'static str) -> MethodRule {
    MethodRule { path, grant: None }
}
