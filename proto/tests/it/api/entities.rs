//! Customers and items that are made and changed; etags and pages.

use docket_engine::{
    Amount, HoldReason, OrderFilter, OrderState, PaymentState, Quantity, Sku, Time, Version,
};
use docket_proto::{
    api::{
        customers, items,
        listing::{self, ListFrom},
        names::{etag, order_name, parse_etag},
        orders,
    },
    v1,
};
use prost_types::FieldMask;

use super::{ada, id, nut, refused};

#[test]
fn etags_are_compared_and_not_interpreted() {
    for number in [0, 1, 9, u64::MAX] {
        assert_eq!(parse_etag(&etag(number)), Some(number));
    }
    for foreign in [
        "",
        "v",
        "3",
        "V3",
        "v03",
        "v+3",
        "v-1",
        "v3 ",
        "v18446744073709551616",
        "\"v3\"",
    ] {
        assert_eq!(parse_etag(foreign), None, "{foreign}");
    }
    let cancel = |etag: &str| {
        let request = v1::CancelOrderRequest {
            name: format!("orders/{}", id()),
            request_id: String::new(),
            etag: etag.into(),
        };
        orders::cancel_order(&request).unwrap().expected
    };
    assert_eq!(cancel(""), None);
    assert_eq!(cancel("v7"), Some(Version(7)));
    // No order has version 0, so that a foreign etag is a stale one.
    assert_eq!(cancel("W/\"1\""), Some(Version(0)));
}

#[test]
fn pages_go_on_only_with_their_own_query() {
    let list = |customer: &str, states: &[i32], page_size, page_token: String| {
        listing::list_orders(&v1::ListOrdersRequest {
            customer: customer.into(),
            states: states.to_vec(),
            page_size,
            page_token,
            ..Default::default()
        })
    };
    let first = list("customers/ada", &[3, 2, 2], 0, String::new()).unwrap();
    assert_eq!(
        first.filter.states,
        [OrderState::Confirmed, OrderState::Cancelled]
    );
    assert_eq!((first.limit, &first.from), (50, &ListFrom::default()));
    let behind = ListFrom {
        before: Some(id()),
        ..ListFrom::default()
    };
    let token = first.next_page_token(&behind);

    let next = list("customers/ada", &[2, 3], 7, token.clone()).unwrap();
    assert_eq!((next.limit, next.from), (7, behind));
    refused(list("customers/bob", &[2, 3], 7, token.clone()), &["page_token"]);
    refused(list("", &[2, 3], 7, token.clone()), &["page_token"]);
    refused(list("customers/ada", &[2], 7, token.clone()), &["page_token"]);
    refused(
        list("customers/ada", &[2, 3], 7, token[1..].to_owned()),
        &["page_token"],
    );
    refused(list("customers/ada", &[2, 3], 7, "ä".repeat(40)), &["page_token"]);
    refused(
        list("customers/ada", &[2, 3], -1, "x".into()),
        &["page_size", "page_token"],
    );
    refused(
        list("ada", &[0, 1, 9], -1, String::new()),
        &["customer", "states[0]", "states[2]", "page_size"],
    );
    refused(list("", &[1; 1_000], 1, String::new()), &["states"]);

    let page_of_customers = |page_size, page_token: String| {
        customers::list_customers(&v1::ListCustomersRequest {
            page_size,
            page_token,
        })
    };
    let token = customers::next_page_token(&ada());
    let page = page_of_customers(1_001, token.clone()).unwrap();
    assert_eq!((page.after, page.limit), (Some(ada()), 1_000));
    let page_of_items = |page_size, page_token: String| {
        items::list_items(&v1::ListItemsRequest {
            page_size,
            page_token,
        })
    };
    refused(page_of_items(1, token), &["page_token"]);
    let page = page_of_items(1, items::next_page_token(&nut())).unwrap();
    assert_eq!((page.after, page.limit), (Some(nut()), 1));
    refused(page_of_customers(i32::MIN, String::new()), &["page_size"]);
}

#[test]
fn a_page_goes_on_only_with_all_of_its_conditions() {
    let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let all = || v1::ListOrdersRequest {
        states: vec![v1::order::State::Confirmed.into()],
        item: "items/nut".into(),
        hold_reasons: vec![v1::order_hold::Reason::Stock.into()],
        payment_states: vec![v1::order_payment::State::Authorized.into()],
        create_time_from: at(7, 1),
        create_time_to: at(9, 0),
        ..Default::default()
    };
    let list = listing::list_orders(&all()).unwrap();
    let filter = OrderFilter {
        states: vec![OrderState::Confirmed],
        placed_from: Some(Time(7_000_001)),
        placed_before: Some(Time(9_000_000)),
        item: Sku::new("nut").ok(),
        holds: vec![HoldReason::Stock],
        payments: vec![PaymentState::Authorized],
        ..OrderFilter::default()
    };
    assert_eq!(list.filter, filter);
    let page_token = list.next_page_token(&ListFrom {
        before: Some(id()),
        ..ListFrom::default()
    });
    let with = |change: fn(&mut v1::ListOrdersRequest)| {
        let mut request = v1::ListOrdersRequest {
            page_token: page_token.clone(),
            ..all()
        };
        change(&mut request);
        listing::list_orders(&request)
    };
    assert_eq!(
        with(|it| it.return_partial_success = true).unwrap().from.before,
        Some(id())
    );
    let others: [fn(&mut v1::ListOrdersRequest); 6] = [
        |it| it.item.clear(),
        |it| it.hold_reasons.clear(),
        |it| it.payment_states.push(v1::order_payment::State::Failed.into()),
        |it| it.create_time_from = None,
        |it| it.create_time_to.as_mut().unwrap().nanos = 1_000,
        |it| it.states.clear(),
    ];
    for other in others {
        refused(with(other), &["page_token"]);
    }
    let request = v1::ListOrdersRequest {
        item: "nut".into(),
        hold_reasons: vec![0, 1, 99],
        payment_states: vec![-1],
        create_time_from: at(7, 1_000_000_000),
        create_time_to: at(i64::MAX, 0),
        ..Default::default()
    };
    refused(
        listing::list_orders(&request),
        &[
            "item",
            "hold_reasons[0]",
            "hold_reasons[2]",
            "payment_states[0]",
            "create_time_from",
            "create_time_to",
        ],
    );
    let backwards = v1::ListOrdersRequest {
        create_time_from: at(9, 1),
        create_time_to: at(9, 0),
        ..Default::default()
    };
    refused(listing::list_orders(&backwards), &["create_time_to"]);
}

#[test]
fn a_batch_names_every_order_and_not_too_many() {
    let batch = |names: Vec<String>| listing::batch_get_orders(&v1::BatchGetOrdersRequest { names });
    let name = order_name(id());
    assert_eq!(batch(vec![name.clone(); 1_000]), Ok(vec![id(); 1_000]));
    refused(batch(Vec::new()), &["names"]);
    refused(batch(vec![name.clone(); 1_001]), &["names"]);
    refused(
        batch(vec!["nut".into(), name, String::new()]),
        &["names[0]", "names[2]"],
    );
}

#[test]
fn a_new_customer_is_checked() {
    let mut request = v1::CreateCustomerRequest {
        customer_id: "a/b".into(),
        ..Default::default()
    };
    refused(customers::create_customer(&request), &["customer_id", "customer"]);
    request.customer = Some(v1::Customer {
        display_name: "a\u{7}".into(),
        currency_code: "XTS".into(),
        credit_limit: -1,
        ..Default::default()
    });
    refused(
        customers::create_customer(&request),
        &[
            "customer_id",
            "customer.display_name",
            "customer.currency_code",
            "customer.credit_limit",
        ],
    );
    let longest = "ä".repeat(128);
    request.customer_id = "ada".into();
    request.customer = Some(v1::Customer {
        display_name: longest.clone(),
        currency_code: "EUR".into(),
        credit_limit: i64::MAX,
        // Output only: ignored.
        balance: -9,
        ..Default::default()
    });
    let create = customers::create_customer(&request).unwrap();
    assert_eq!(
        (create.id, &*create.display_name, create.credit_limit),
        (ada(), &*longest, Amount(i64::MAX))
    );
    if let Some(customer) = &mut request.customer {
        customer.display_name.push('x');
    }
    refused(customers::create_customer(&request), &["customer.display_name"]);
}

#[test]
fn a_new_item_is_checked() {
    let mut request = v1::CreateItemRequest::default();
    refused(items::create_item(&request), &["sku", "item"]);
    request.sku = "nut".into();
    request.item = Some(v1::Item {
        unit_price: -1,
        on_hand: -1,
        ..Default::default()
    });
    refused(
        items::create_item(&request),
        &["item.currency_code", "item.unit_price", "item.on_hand"],
    );
    request.item = Some(v1::Item {
        currency_code: "EUR".into(),
        unit_price: 0,
        on_hand: i64::MAX,
        ..Default::default()
    });
    assert_eq!(items::create_item(&request).unwrap().on_hand, Quantity(i64::MAX));
}

#[test]
fn a_mask_says_what_an_update_looks_at() {
    let update = |mask: Option<&[&str]>, display_name: &str, credit_limit| {
        customers::update_customer(&v1::UpdateCustomerRequest {
            customer: Some(v1::Customer {
                name: "customers/ada".into(),
                display_name: display_name.into(),
                credit_limit,
                etag: "v4".into(),
                ..Default::default()
            }),
            update_mask: mask.map(|paths| FieldMask {
                paths: paths.iter().map(ToString::to_string).collect(),
            }),
            request_id: String::new(),
        })
    };
    let check = |mask, name, limit, expected: (Option<&str>, Option<i64>)| {
        let update = update(mask, name, limit).unwrap();
        assert_eq!(
            (update.display_name.as_deref(), update.credit_limit.map(|l| l.0)),
            expected
        );
        assert_eq!(update.expected, Some(4));
    };
    check(None, "Ada", 0, (Some("Ada"), None));
    check(Some(&[]), "", 9, (None, Some(9)));
    check(None, "", 0, (None, None));
    check(Some(&["*"]), "", 0, (Some(""), Some(0)));
    check(Some(&["credit_limit"]), "ignored", 0, (None, Some(0)));
    check(
        Some(&["display_name", "credit_limit"]),
        "Ada",
        1,
        (Some("Ada"), Some(1)),
    );
    // What the mask leaves out may be anything.
    check(Some(&["display_name"]), "Ada", -1, (Some("Ada"), None));

    refused(update(None, "Ada", -1), &["customer.credit_limit"]);
    let paths = ["display_name", "balance", "creditLimit"];
    refused(
        update(Some(&paths), "", 0),
        &["update_mask.paths[1]", "update_mask.paths[2]"],
    );
    refused(update(Some(&["x"; 1_000]), "", 0), &["update_mask"]);
    refused(
        customers::update_customer(&v1::UpdateCustomerRequest::default()),
        &["customer"],
    );

    let update = |mask: &str, unit_price| {
        items::update_item(&v1::UpdateItemRequest {
            item: Some(v1::Item {
                name: "items/nut".into(),
                unit_price,
                ..Default::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec![mask.into()],
            }),
            request_id: String::new(),
        })
    };
    let free = update("unit_price", 0).unwrap();
    assert_eq!(
        (free.unit_price, free.display_name, free.expected),
        (Some(Amount(0)), None, None)
    );
    refused(update("*", -1), &["item.unit_price"]);
    let limit = |mask: Option<&str>, backorder_limit| {
        items::update_item(&v1::UpdateItemRequest {
            item: Some(v1::Item {
                name: "items/nut".into(),
                backorder_limit,
                ..Default::default()
            }),
            update_mask: mask.map(|mask| FieldMask {
                paths: vec![mask.into()],
            }),
            request_id: String::new(),
        })
    };
    let none = limit(Some("backorder_limit"), 0).unwrap();
    assert_eq!((none.backorder_limit, none.unit_price), (Some(Quantity(0)), None));
    assert_eq!(limit(None, 7).unwrap().backorder_limit, Some(Quantity(7)));
    assert_eq!(limit(Some("unit_price"), 7).unwrap().backorder_limit, None);
    for wrong in [-1, 1_000_000_001] {
        refused(limit(None, wrong), &["item.backorder_limit"]);
    }
    refused(update("on_hand", 1), &["update_mask.paths[0]"]);
}

#[test]
fn bookings_may_be_negative_and_not_0() {
    let credit = |amount| {
        customers::credit_account(&v1::CreditAccountRequest {
            name: "customers/ada".into(),
            amount,
            request_id: "r".into(),
            etag: String::new(),
        })
    };
    assert_eq!(credit(i64::MIN).unwrap().amount, Amount(i64::MIN));
    refused(credit(0), &["amount"]);
    let adjust = |delta| {
        items::adjust_stock(&v1::AdjustStockRequest {
            name: "items/nut".into(),
            delta,
            request_id: "r".into(),
            etag: "v2".into(),
        })
    };
    let adjusted = adjust(-3).unwrap();
    assert_eq!((adjusted.delta, adjusted.expected), (Quantity(-3), Some(2)));
    refused(adjust(0), &["delta"]);
}
