//! Requests of `ItemService`.

use std::sync::Arc;

use docket_engine::{Amount, Currency, Quantity, Sku, money::QUANTITY_MAX};

use super::{
    check::{Check, Checked},
    names::{self, parse_item_name},
    page_token::page_token,
};
use crate::v1;

/// What page tokens of `ListItems` have in common.
const LIST: &str = "items";

/// A `CreateItemRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateItem {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The item's id.
    pub sku: Sku,
    /// For people.
    pub display_name: Arc<str>,
    /// Of the price.
    pub currency: Currency,
    /// Of one; 0 or more.
    pub unit_price: Amount,
    /// The first stock; 0 or more.
    pub on_hand: Quantity,
}

/// An `UpdateItemRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateItem {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The item.
    pub sku: Sku,
    /// `None` leaves it.
    pub display_name: Option<Arc<str>>,
    /// `None` leaves it.
    pub unit_price: Option<Amount>,
    /// How many may wait; `None` leaves it.
    pub backorder_limit: Option<Quantity>,
    /// Only at this revision.
    pub expected: Option<u64>,
}

/// An `AdjustStockRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustStock {
    /// The client's id for the request.
    pub request_id: String,
    /// The item.
    pub sku: Sku,
    /// More, or fewer when negative; not 0.
    pub delta: Quantity,
    /// Only at this revision.
    pub expected: Option<u64>,
}

/// A `ListItemsRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListItems {
    /// Where the page before ended.
    pub after: Option<Sku>,
    /// At most this many.
    pub limit: usize,
}

/// Takes a `CreateItemRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn create_item(request: &v1::CreateItemRequest) -> Checked<CreateItem> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let sku = check.ok("sku", Sku::new(&request.sku));
    let Some(item) = &request.item else {
        check.violation("item", "is required");
        return check.done(None);
    };
    let display_name = check.display_name("item.display_name", &item.display_name);
    let currency = check.currency("item.currency_code", &item.currency_code);
    let unit_price = check.amount_of_0_or_more("item.unit_price", item.unit_price);
    if item.on_hand < 0 {
        check.violation("item.on_hand", "must be 0 or more");
    }
    let create = || {
        Some(CreateItem {
            request_id: request_id?,
            sku: sku?,
            display_name: display_name?,
            currency: currency?,
            unit_price: unit_price?,
            on_hand: Quantity(item.on_hand),
        })
    };
    check.done(create())
}

/// Takes a `GetItemRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn get_item(request: &v1::GetItemRequest) -> Checked<Sku> {
    let mut check = Check::default();
    let sku = check.ok("name", parse_item_name(&request.name));
    check.done(sku)
}

/// Takes an `UpdateItemRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn update_item(request: &v1::UpdateItemRequest) -> Checked<UpdateItem> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let Some(item) = &request.item else {
        check.violation("item", "is required");
        return check.done(None);
    };
    let sku = check.ok("item.name", parse_item_name(&item.name));
    let named = check.mask(
        request.update_mask.as_ref(),
        ["display_name", "unit_price", "backorder_limit"],
        [
            !item.display_name.is_empty(),
            item.unit_price != 0,
            item.backorder_limit != 0,
        ],
    );
    // A field that the mask leaves out is not looked at.
    let [name, price, limit] = named.unwrap_or_default();
    let display_name = name.then(|| check.display_name("item.display_name", &item.display_name));
    let unit_price = price.then(|| check.amount_of_0_or_more("item.unit_price", item.unit_price));
    if limit && !(0..=QUANTITY_MAX).contains(&item.backorder_limit) {
        check.violation(
            "item.backorder_limit",
            format_args!("must be 0 to {QUANTITY_MAX}"),
        );
    }
    let update = || {
        Some(UpdateItem {
            request_id: request_id?,
            sku: sku?,
            display_name: display_name.flatten(),
            unit_price: unit_price.flatten(),
            backorder_limit: limit.then_some(Quantity(item.backorder_limit)),
            expected: names::expected(&item.etag),
        })
    };
    check.done(update())
}

/// Takes an `AdjustStockRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn adjust_stock(request: &v1::AdjustStockRequest) -> Checked<AdjustStock> {
    let mut check = Check::default();
    let request_id = check.request_id(&request.request_id);
    let sku = check.ok("name", parse_item_name(&request.name));
    let delta = check.not_0("delta", request.delta);
    let adjust = || {
        Some(AdjustStock {
            request_id: request_id?,
            sku: sku?,
            delta: Quantity(delta?),
            expected: names::expected(&request.etag),
        })
    };
    check.done(adjust())
}

/// Takes a `ListItemsRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn list_items(request: &v1::ListItemsRequest) -> Checked<ListItems> {
    let mut check = Check::default();
    let limit = check.page_size(request.page_size);
    let after = check.page_token(LIST, &request.page_token, |last| Sku::new(last).ok());
    let list = || {
        Some(ListItems {
            after: after?,
            limit: limit?,
        })
    };
    check.done(list())
}

/// The token of the page behind `last`.
pub fn next_page_token(last: &Sku) -> String {
    page_token(LIST, last.as_str())
}
