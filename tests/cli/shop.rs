//! Orders, customers and items from the command line: what is asked arrives, what comes back is shown.

use serde_json::json;

use crate::{server::Server, support::Shell};

/// A server with a customer who has 100.00 EUR of credit and two items.
pub fn shop() -> (Shell, Server, String) {
    let shell = Shell::new();
    let server = Server::start(&shell);
    let flags = server.flags();
    shell
        .run(&format!(
            "customer create acme --currency eur --credit-limit 100 --display-name Acme {flags}"
        ))
        .ends(0);
    shell
        .run(&format!(
            "item create tea --currency EUR --price 4.50 --on-hand 100 {flags}"
        ))
        .ends(0);
    shell
        .run(&format!(
            "item create items/pot --currency EUR --price 19.90 --on-hand 3 {flags}"
        ))
        .ends(0);
    (shell, server, flags)
}

#[test]
fn an_order_is_placed_read_listed_and_cancelled() {
    let (shell, server, flags) = shop();
    let placed = shell
        .run(&format!(
            "order place --customer acme tea:2 pot:1@19.90 -o json {flags}"
        ))
        .ends(0);
    assert!(placed.stderr.contains("request id: "), "{}", placed.stderr);
    let placed = placed.json();
    assert_eq!(placed["state"], "CONFIRMED");
    assert_eq!(placed["total"], 2890);
    assert_eq!(
        placed["lines"],
        json!([
            {"item": "items/tea", "quantity": 2, "unit_price": 450, "amount": 900,
             "fulfilled_quantity": 0, "cancelled_quantity": 0,
             "reservations": [{"state": "COMMITTED", "quantity": 2}]},
            {"item": "items/pot", "quantity": 1, "unit_price": 1990, "amount": 1990,
             "fulfilled_quantity": 0, "cancelled_quantity": 0,
             "reservations": [{"state": "COMMITTED", "quantity": 1}]},
        ])
    );
    let name = placed["name"].as_str().unwrap();
    let id = name.strip_prefix("orders/").unwrap();
    for way in [name, id] {
        assert_eq!(
            shell
                .run(&format!("order get {way} -o json {flags}"))
                .ends(0)
                .json(),
            placed
        );
    }
    let table = shell.run(&format!("order get {id} {flags}")).ends(0).stdout;
    for part in [id, "CONFIRMED", "28.90 EUR", "UNIT PRICE", "19.90 EUR"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
    let list = shell
        .run(&format!(
            "order list --customer customers/acme --state confirmed {flags}"
        ))
        .ends(0)
        .stdout;
    assert!(list.starts_with("NAME") && list.contains(id), "{list}");
    assert_eq!(
        shell
            .run(&format!("order list --state pending -o json {flags}"))
            .ends(0)
            .json()["orders"],
        json!([])
    );

    shell
        .run(&format!("order cancel {id} --etag stale {flags}"))
        .ends(1)
        .says("etag");
    let cancelled = shell
        .run(&format!("order cancel {id} -o json {flags}"))
        .ends(0)
        .json();
    assert_eq!(cancelled["state"], "CANCELLED");
    let customer = shell
        .run(&format!("customer get acme -o json {flags}"))
        .ends(0)
        .json();
    assert_eq!(
        (&customer["held"], &customer["available"]),
        (&json!(0), &json!(10_000))
    );
    server.stop();
}

#[test]
fn orders_are_found_by_what_is_known_of_them_and_several_by_their_names() {
    let (shell, server, flags) = shop();
    let place = |lines: &str| {
        let placed = shell.run(&format!("order place --customer acme {lines} -o json {flags}"));
        placed.ends(0).json()["name"].as_str().unwrap().to_owned()
    };
    let (tea, pot) = (place("tea:2"), place("pot:1"));
    shell
        .run(&format!("order place --customer acme pot:1000 {flags}"))
        .ends(1)
        .says("INSUFFICIENT_CREDIT");
    shell.run(&format!("order hold {tea} address {flags}")).ends(0);
    let list = |what: &str| {
        let listed = shell
            .run(&format!("order list {what} -o json {flags}"))
            .ends(0)
            .json();
        assert_eq!(listed["unreachable"], json!([]));
        let orders = listed["orders"].as_array().unwrap().iter();
        orders
            .map(|order| order["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list("--item tea"), [tea.as_str()]);
    assert_eq!(list("--held address --held stock"), [tea.as_str()]);
    assert_eq!(
        list("--payment authorized --from 1h"),
        [pot.as_str(), tea.as_str()]
    );
    assert_eq!(list("--payment failed").len(), 1);
    assert_eq!(list("--to 1h --all"), [""; 0]);
    assert_eq!(list("--from 2020-01-01 --to 2100-01-01T00:00:00Z --all").len(), 3);
    for (wrong, why) in [
        ("--from soon", "2026-11-01"),
        ("--payment paid", "authorized"),
        ("--held weather", "fraud_review"),
        ("--item customers/acme", "items/ID"),
    ] {
        shell
            .run(&format!("order list {wrong} {flags}"))
            .ends(2)
            .says(why);
    }
    shell
        .run(&format!("order list --from 1h --to 2h {flags}"))
        .ends(1)
        .says("create_time_to");

    let both = shell
        .run(&format!("order get {pot} {tea} -o json {flags}"))
        .ends(0)
        .json();
    let names: Vec<_> = both["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, [pot.as_str(), tea.as_str()]);
    let table = shell
        .run(&format!("order get {pot} {tea} {flags}"))
        .ends(0)
        .stdout;
    assert!(table.starts_with("NAME") && table.lines().count() == 3, "{table}");
    shell
        .run(&format!("order get {pot} 01M83JXAHCC6MXR3EASG000000 {flags}"))
        .ends(1)
        .says("ORDER_NOT_FOUND");
    server.stop();
}

#[test]
fn what_happened_to_an_order_is_told_with_who_and_by_which_request() {
    let (shell, server, flags) = shop();
    let placed = shell
        .run(&format!(
            "order place --customer acme tea:3 --request-id place-1 -o json {flags}"
        ))
        .ends(0)
        .json();
    let name = placed["name"].as_str().unwrap();
    for what in [
        format!("hold {name} address --note street"),
        format!("release {name} address"),
        format!("ship {name} tea:2 --request-id ship-1"),
        format!("cancel {name} tea:1"),
    ] {
        shell.run(&format!("order {what} {flags}")).ends(0);
    }
    let told = shell
        .run(&format!("order history {name} -o json {flags}"))
        .ends(0)
        .json();
    let events = told["events"].as_array().unwrap();
    let kinds: Vec<_> = events.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "PLACED",
            "CONFIRMED",
            "HELD",
            "HOLD_RELEASED",
            "SHIPPED",
            "CONSUMED",
            "LINES_CANCELLED",
            "RELEASED"
        ]
    );
    assert_eq!(
        (&events[0]["requested_by"], &events[0]["request_id"]),
        (&json!("admin"), &json!("place-1"))
    );
    assert_eq!(
        events[2]["details"],
        json!({"hold_reason": "ADDRESS", "note": "street"})
    );
    assert_eq!(events[4]["request_id"], "ship-1");
    assert_eq!(events[4]["before"]["state"], "CONFIRMED");
    assert_eq!(events[4]["after"]["state"], "PARTIALLY_FULFILLED");
    assert_eq!(events[4]["after"]["payment"]["captured"], 900);
    assert_eq!(
        events[6]["after"]["lines"],
        json!([{"open_quantity": 0, "fulfilled_quantity": 2, "cancelled_quantity": 1}])
    );
    let table = shell.run(&format!("order history {name} {flags}")).ends(0).stdout;
    for part in [
        "EVENT TIME",
        "SHIPPED",
        "PARTIALLY_FULFILLED",
        "ship-1",
        "9.00 EUR",
        "ADDRESS",
    ] {
        assert!(table.contains(part), "no {part} in {table}");
    }
    assert_eq!(table.lines().count(), 9, "{table}");
    shell
        .run(&format!("order history 01M83JXAHCC6MXR3EASG000000 {flags}"))
        .ends(1)
        .says("ORDER_NOT_FOUND");
    server.stop();
}

#[test]
fn an_order_is_planned_and_shipped_as_planned_or_not() {
    let (shell, server, flags) = shop();
    let placed = shell
        .run(&format!(
            "order place --customer acme tea:5 pot:1 -o json {flags}"
        ))
        .ends(0)
        .json();
    let name = placed["name"].as_str().unwrap();
    let order = |what: &str| shell.run(&format!("order {what} {flags}"));
    let planned = order(&format!("plan {name} tea:3 --request-id p-1 -o json"));
    let planned = planned.ends(0).json();
    let plan = &planned["fulfilments"][0];
    assert_eq!(
        (
            &plan["state"],
            &plan["lines"],
            &plan["opened_by"],
            &plan["ship_time"]
        ),
        (
            &json!("OPEN"),
            &json!([{"line": 0, "quantity": 3}]),
            &json!("admin"),
            &json!(null)
        )
    );
    assert_eq!(planned["state"], json!("CONFIRMED"));
    let again = order(&format!("plan {name} tea:3 --request-id p-1 -o json"));
    assert_eq!(again.ends(0).json(), planned);
    for taken in [
        "ship {} tea:3",
        "cancel {} tea:3",
        "cancel {}",
        "edit {} tea:2 --etag v3",
    ] {
        order(&taken.replace("{}", name)).ends(1).says("QUANTITY_PLANNED");
    }
    order(&format!("deliver {name} 1"))
        .ends(1)
        .says("FULFILMENT_NOT_SHIPPED");
    // All but that.
    order(&format!("plan {name}")).ends(0);
    order(&format!("unplan {name} 1")).ends(0);
    order(&format!("unplan {name} 0")).ends(2);
    order(&format!("ship {name} --fulfilment 1"))
        .ends(1)
        .says("FULFILMENT_NOT_OPEN");
    order(&format!("ship {name} tea:1 --fulfilment 2")).ends(2);
    let shipped = order(&format!("ship {name} --fulfilment 2 --tracking JD014 -o json"));
    let shipped = shipped.ends(0).json();
    assert_eq!(
        shipped["lines"][0]["reservations"],
        json!([{"state": "COMMITTED", "quantity": 3}, {"state": "CONSUMED", "quantity": 2}])
    );
    assert_eq!(
        shipped["lines"][1]["reservations"],
        json!([{"state": "CONSUMED", "quantity": 1}])
    );
    let table = order(&format!("get {name}")).ends(0).stdout;
    for text in ["CANCELLED", "JD014", "3 COMMITTED, 2 CONSUMED"] {
        assert!(table.contains(text), "no {text} in {table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let events = order(&format!("history {name} -o json")).ends(0).json();
    let kinds = events["events"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "PLACED",
            "CONFIRMED",
            "FULFILMENT_OPENED",
            "FULFILMENT_OPENED",
            "FULFILMENT_CANCELLED",
            "SHIPPED",
            "CONSUMED",
        ]
    );
    order(&format!("cancel {name}")).ends(0);
    server.stop();
}

#[test]
fn what_is_backordered_is_shown_and_shipped_when_it_is_there() {
    let (shell, server, flags) = shop();
    let item = |what: &str| shell.run(&format!("item {what} {flags}"));
    let order = |what: &str| shell.run(&format!("order {what} {flags}"));
    order("place --customer acme pot:4")
        .ends(1)
        .says("INSUFFICIENT_STOCK");
    item("update pot --backorder-limit -1")
        .ends(1)
        .says("item.backorder_limit");
    let promises = item("update pot --backorder-limit 2 -o json").ends(0).json();
    assert_eq!(
        (&promises["backorder_limit"], &promises["backordered"]),
        (&json!(2), &json!(0))
    );
    let placed = order("place --customer acme pot:4 -o json").ends(0).json();
    let name = placed["name"].as_str().unwrap();
    assert_eq!(placed["state"], "CONFIRMED");
    assert_eq!(
        placed["lines"][0]["reservations"],
        json!([{"state": "COMMITTED", "quantity": 3}, {"state": "BACKORDERED", "quantity": 1}])
    );
    let table = order(&format!("get {name}")).ends(0).stdout;
    assert!(table.contains("3 COMMITTED, 1 BACKORDERED"), "{table}");
    order(&format!("ship {name} pot:4"))
        .ends(1)
        .says("QUANTITY_BACKORDERED");
    let pots = item("get pot -o json").ends(0).json();
    let books = ["on_hand", "reserved", "available", "backordered"].map(|field| pots[field].clone());
    assert_eq!(books, [json!(3), json!(3), json!(0), json!(1)]);
    item("adjust pot 5").ends(0);
    let shipped = order(&format!("ship {name} -o json")).ends(0).json();
    assert_eq!(shipped["state"], "FULFILLED");
    let events = order(&format!("history {name} -o json")).ends(0).json();
    let events = events["events"].as_array().unwrap();
    let kinds: Vec<_> = events.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "PLACED",
            "CONFIRMED",
            "BACKORDERED",
            "BACKORDER_FILLED",
            "SHIPPED",
            "CONSUMED"
        ]
    );
    assert_eq!(events[2]["details"]["lines"], json!([{"line": 0, "quantity": 1}]));
    shell.run(&format!("verify {flags}")).ends(0);
    server.stop();
}

#[test]
fn an_order_is_shipped_in_parts_and_the_rest_is_cancelled() {
    let (shell, server, flags) = shop();
    let placed = shell
        .run(&format!("order place --customer acme tea:5 -o json {flags}"))
        .ends(0)
        .json();
    let name = placed["name"].as_str().unwrap();
    let order = |what: &str| shell.run(&format!("order {what} {flags}"));
    order(&format!("ship {name} coffee:1"))
        .ends(2)
        .says("the order has no line of coffee");
    order(&format!("ship {name} tea:1@4.50"))
        .ends(2)
        .says("write tea:1");
    order(&format!("ship {name} tea:6"))
        .ends(1)
        .says("QUANTITY_NOT_OPEN");
    order(&format!("deliver {name} 0")).ends(2);
    order(&format!("deliver {name} 1"))
        .ends(1)
        .says("FULFILMENT_NOT_FOUND");
    let shipped = order(&format!(
        "ship {name} tea:2 --carrier DHL --tracking JD014 -o json"
    ))
    .ends(0)
    .json();
    assert_eq!(shipped["state"], json!("PARTIALLY_FULFILLED"));
    let shipment = &shipped["fulfilments"][0];
    assert_eq!(shipment["lines"], json!([{"line": 0, "quantity": 2}]));
    assert_eq!(
        (&shipment["carrier"], &shipment["shipped_by"]),
        (&json!("DHL"), &json!("admin"))
    );
    assert_eq!(shipped["payment"]["state"], json!("PARTIALLY_CAPTURED"));
    let table = order(&format!("deliver {name} 1")).ends(0).stdout;
    for text in [
        "PARTIALLY_FULFILLED",
        "DELIVERED",
        "JD014",
        "PARTIALLY_CAPTURED: ",
    ] {
        assert!(table.contains(text), "no {text} in {table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    order(&format!("cancel {name} tea:1")).ends(0);
    let rest = order(&format!("ship {name} -o json")).ends(0).json();
    assert_eq!(
        (
            &rest["state"],
            &rest["payment"]["state"],
            &rest["lines"][0]["cancelled_quantity"]
        ),
        (&json!("FULFILLED"), &json!("CAPTURED"), &json!(1))
    );
    order(&format!("cancel {name}")).ends(1).says("NOT_CANCELLABLE");
    order(&format!("ship {name}")).ends(1).says("NOT_SHIPPABLE");

    order(&format!("return request {name} tea:1 --note broken")).ends(0);
    order(&format!("return receive {name} 1"))
        .ends(1)
        .says("RETURN_NOT_OPEN");
    order(&format!("return approve {name} 1")).ends(0);
    let table = order(&format!("return receive {name} 1 --restock"))
        .ends(0)
        .stdout;
    assert!(table.contains("RECEIVED") && table.contains("broken"), "{table}");
    order(&format!("return decline {name} 1 --note no"))
        .ends(1)
        .says("RETURN_NOT_OPEN");
    order(&format!("refund {name} 4.555")).ends(2).says("decimals");
    order(&format!("refund {name} 100.00"))
        .ends(1)
        .says("REFUND_TOO_LARGE");
    let back = order(&format!("refund {name} 4.50 --note sorry -o json"))
        .ends(0)
        .json();
    assert_eq!(
        (
            &back["payment"]["state"],
            &back["refunds"][0]["refund"],
            &back["returns"][0]["restocked"]
        ),
        (&json!("PARTIALLY_REFUNDED"), &json!(450), &json!(true))
    );
    let table = order(&format!("return close {name} 1")).ends(0).stdout;
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let listed = order("list --state fulfilled -o json").ends(0).json();
    assert_eq!(listed["orders"][0]["name"], json!(name));
    server.stop();
}

#[test]
fn an_order_is_held_and_released() {
    let (shell, server, flags) = shop();
    let placed = shell
        .run(&format!("order place --customer acme tea:2 -o json {flags}"))
        .ends(0)
        .json();
    let name = placed["name"].as_str().unwrap();
    let hold = |reason: &str| format!("order hold {name} {reason} --note suspicious {flags}");
    shell.run(&hold("because")).ends(2).says("fraud_review");
    let held = shell
        .run(&format!("{} -o json", hold("fraud_review")))
        .ends(0)
        .json();
    let hold_of = &held["holds"][0];
    assert_eq!(
        (
            &held["state"],
            &hold_of["reason"],
            &hold_of["note"],
            &hold_of["placed_by"]
        ),
        (
            &json!("CONFIRMED"),
            &json!("FRAUD_REVIEW"),
            &json!("suspicious"),
            &json!("admin")
        )
    );
    shell.run(&hold("FRAUD_REVIEW")).ends(1).says("HOLD_EXISTS");
    let table = shell.run(&hold("address")).ends(0).stdout;
    let both = "FRAUD_REVIEW by admin: suspicious; ADDRESS by admin";
    assert!(table.contains(both), "no {both} in {table}");
    let release = |reason: &str| format!("order release {name} {reason} -o json {flags}");
    shell.run(&release("stock")).ends(1).says("HOLD_NOT_FOUND");
    let released = shell.run(&release("fraud_review")).ends(0).json();
    assert_eq!(released["holds"].as_array().unwrap().len(), 1);
    shell.run(&format!("order cancel {name} {flags}")).ends(0);
    shell.run(&release("address")).ends(1).says("NOT_HOLDABLE");
    server.stop();
}

#[test]
fn a_refusal_says_why_for_people_and_for_programs() {
    let (shell, server, flags) = shop();
    let place = |line: &str| format!("order place --customer acme {line} {flags}");
    shell
        .run(&place("pot:4"))
        .ends(1)
        .says("INSUFFICIENT_STOCK")
        .says("lines[0].quantity")
        .prints_nothing();
    shell.run(&place("tea:100")).ends(1).says("INSUFFICIENT_CREDIT");
    shell.run(&place("tea:1@4.40")).ends(1).says("PRICE_CHANGED");
    shell.run(&place("cup:1@1.00")).ends(1).says("ITEM_NOT_FOUND");
    shell
        .run(&format!(
            "order place --customer nobody tea:1@4.50 --currency EUR {flags}"
        ))
        .ends(1)
        .says("nobody");
    shell
        .run(&format!("order get 01J {flags}"))
        .ends(1)
        .says("INVALID_ARGUMENT");

    let run = shell.run(&format!("{} -o json", place("pot:4"))).ends(1);
    let from = run.stderr.find('{').unwrap();
    let error: serde_json::Value = serde_json::from_str(&run.stderr[from..]).unwrap();
    assert_eq!(error["error"]["code"], "FAILED_PRECONDITION");
    assert_eq!(error["error"]["reason"], "INSUFFICIENT_STOCK");
    assert!(error["error"]["request_id"].is_string(), "{error}");
    let rejected = shell
        .run(&format!("order list --state rejected {flags}"))
        .ends(0)
        .stdout;
    assert!(rejected.lines().count() >= 5, "{rejected}");
    server.stop();
}

#[test]
fn a_request_id_makes_a_repeat_harmless_and_another_request_a_mistake() {
    let (shell, server, flags) = shop();
    let place = |line: &str| format!("order place --customer acme {line} --request-id once -o json {flags}");
    let first = shell.run(&place("tea:1")).ends(0);
    assert!(!first.stderr.contains("request id"), "{}", first.stderr);
    assert_eq!(shell.run(&place("tea:1")).ends(0).json(), first.json());
    shell.run(&place("tea:2")).ends(1).says("REQUEST_ID_REUSED");
    let credit = format!("customer credit acme 5 --request-id paid -o json {flags}");
    assert_eq!(shell.run(&credit).ends(0).json()["balance"], 500);
    assert_eq!(shell.run(&credit).ends(0).json()["balance"], 500);
    server.stop();
}

#[test]
fn customers_and_items_are_changed_in_their_own_currency() {
    let (shell, server, flags) = shop();
    let json = |args: &str| shell.run(&format!("{args} -o json {flags}")).ends(0).json();
    let acme = json("customer update acme --credit-limit 0.05");
    assert_eq!(
        (&acme["credit_limit"], &acme["display_name"]),
        (&json!(5), &json!("Acme"))
    );
    assert_eq!(
        json("customer update acme --display-name Bcme")["credit_limit"],
        5
    );
    assert_eq!(json("customer credit acme 12.34")["balance"], 1234);
    assert_eq!(json("customer credit acme -2.34")["balance"], 1000);
    assert_eq!(json("item update tea --price 5")["unit_price"], 500);
    assert_eq!(json("item adjust tea -40")["on_hand"], 60);
    assert_eq!(json("item adjust tea +2")["on_hand"], 62);
    json("customer create sato --currency JPY --credit-limit 5000");
    shell
        .run(&format!("customer credit sato 1.5 {flags}"))
        .ends(2)
        .says("JPY has 0");
    let table = shell.run(&format!("customer get sato {flags}")).ends(0).stdout;
    assert!(table.contains("5000 JPY"), "{table}");
    server.stop();
}

#[test]
fn lists_come_in_pages_or_whole() {
    let (shell, server, flags) = shop();
    for number in 0..5 {
        shell
            .run(&format!("item create i{number} --currency EUR --price 1 {flags}"))
            .ends(0);
    }
    let page = shell.run(&format!("item list --page-size 3 {flags}")).ends(0);
    assert_eq!(page.stdout.lines().count(), 4, "{}", page.stdout);
    let token = page
        .stderr
        .split_once("--page-token ")
        .unwrap()
        .1
        .split(',')
        .next()
        .unwrap()
        .to_owned();
    let next = shell
        .run(&format!(
            "item list --page-size 3 --page-token {token} -o json {flags}"
        ))
        .ends(0)
        .json();
    let names = |json: &serde_json::Value| -> Vec<String> {
        let items = json["items"].as_array().unwrap().iter();
        items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&next), ["items/i3", "items/i4", "items/pot"]);
    let all = shell
        .run(&format!("item list --page-size 2 --all -o json {flags}"))
        .ends(0)
        .json();
    assert_eq!(names(&all).len(), 7);
    assert_eq!(all["next_page_token"], "");
    server.stop();
}
