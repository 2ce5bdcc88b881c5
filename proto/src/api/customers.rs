//! Requests of `CustomerService`.

use std::sync::Arc;

use docket_engine::{Amount, Currency, CustomerId};

use super::{
    check::{Check, Checked},
    names::{self, parse_customer_name},
    page_token::page_token,
};
use crate::v1;

/// What page tokens of `ListCustomers` have in common.
const LIST: &str = "customers";

/// A `CreateCustomerRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateCustomer {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The customer's id.
    pub id: CustomerId,
    /// For people.
    pub display_name: Arc<str>,
    /// Of the account.
    pub currency: Currency,
    /// 0 or more.
    pub credit_limit: Amount,
}

/// An `UpdateCustomerRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateCustomer {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The customer.
    pub id: CustomerId,
    /// `None` leaves it.
    pub display_name: Option<Arc<str>>,
    /// `None` leaves it.
    pub credit_limit: Option<Amount>,
    /// Only at this revision.
    pub expected: Option<u64>,
}

/// A `CreditAccountRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditAccount {
    /// The client's id for the request.
    pub request_id: String,
    /// The customer.
    pub id: CustomerId,
    /// In, or out when negative; not 0.
    pub amount: Amount,
    /// Only at this revision.
    pub expected: Option<u64>,
}

/// A `ListCustomersRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListCustomers {
    /// Where the page before ended.
    pub after: Option<CustomerId>,
    /// At most this many.
    pub limit: usize,
}

/// Takes a `CreateCustomerRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn create_customer(request: &v1::CreateCustomerRequest) -> Checked<CreateCustomer> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let id = check.ok("customer_id", CustomerId::new(&request.customer_id));
    let Some(customer) = &request.customer else {
        check.violation("customer", "is required");
        return check.done(None);
    };
    let display_name = check.display_name("customer.display_name", &customer.display_name);
    let currency = check.currency("customer.currency_code", &customer.currency_code);
    let credit_limit = check.amount_of_0_or_more("customer.credit_limit", customer.credit_limit);
    let create = || {
        Some(CreateCustomer {
            request_id: request_id?,
            id: id?,
            display_name: display_name?,
            currency: currency?,
            credit_limit: credit_limit?,
        })
    };
    check.done(create())
}

/// Takes a `GetCustomerRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn get_customer(request: &v1::GetCustomerRequest) -> Checked<CustomerId> {
    let mut check = Check::default();
    let id = check.ok("name", parse_customer_name(&request.name));
    check.done(id)
}

/// Takes an `UpdateCustomerRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn update_customer(request: &v1::UpdateCustomerRequest) -> Checked<UpdateCustomer> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let Some(customer) = &request.customer else {
        check.violation("customer", "is required");
        return check.done(None);
    };
    let id = check.ok("customer.name", parse_customer_name(&customer.name));
    let named = check.mask(
        request.update_mask.as_ref(),
        ["display_name", "credit_limit"],
        [!customer.display_name.is_empty(), customer.credit_limit != 0],
    );
    // A field that the mask leaves out is not looked at.
    let [name, limit] = named.unwrap_or_default();
    let display_name = name.then(|| check.display_name("customer.display_name", &customer.display_name));
    let credit_limit =
        limit.then(|| check.amount_of_0_or_more("customer.credit_limit", customer.credit_limit));
    let update = || {
        Some(UpdateCustomer {
            request_id: request_id?,
            id: id?,
            display_name: display_name.flatten(),
            credit_limit: credit_limit.flatten(),
            expected: names::expected(&customer.etag),
        })
    };
    check.done(update())
}

/// Takes a `CreditAccountRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn credit_account(request: &v1::CreditAccountRequest) -> Checked<CreditAccount> {
    let mut check = Check::default();
    let request_id = check.request_id(&request.request_id);
    let id = check.ok("name", parse_customer_name(&request.name));
    let amount = check.not_0("amount", request.amount);
    let credit = || {
        Some(CreditAccount {
            request_id: request_id?,
            id: id?,
            amount: Amount(amount?),
            expected: names::expected(&request.etag),
        })
    };
    check.done(credit())
}

/// Takes a `ListCustomersRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn list_customers(request: &v1::ListCustomersRequest) -> Checked<ListCustomers> {
    let mut check = Check::default();
    let limit = check.page_size(request.page_size);
    let after = check.page_token(LIST, &request.page_token, |last| CustomerId::new(last).ok());
    let list = || {
        Some(ListCustomers {
            after: after?,
            limit: limit?,
        })
    };
    check.done(list())
}

/// The token of the page behind `last`.
pub fn next_page_token(last: &CustomerId) -> String {
    page_token(LIST, last.as_str())
}
