//! Method × role × owner × scope.

use super::*;

fn principal(role: Role, scopes: Scopes) -> Principal {
    Principal {
        account: name("ada"),
        role,
        customer: (role == Role::Customer).then(|| customer("c1")),
        scopes,
        credential: Credential::ApiKey(key_id(1)),
    }
}

#[test]
fn the_table_is_in_order_and_found_in() {
    assert!(METHOD_TABLE.is_sorted_by(|a, b| a.path < b.path));
    for row in &METHOD_TABLE {
        assert_eq!(rule_of(row.path), Some(row));
    }
    for path in [
        "",
        "/",
        "/docket.v1.OrderService/",
        "/docket.v1.OrderService/placeOrder",
        "/x.Y/Z",
    ] {
        assert_eq!(rule_of(path), None, "{path}");
    }
}

#[test]
fn a_role_has_every_scope_that_its_methods_need() {
    for row in &METHOD_TABLE {
        let Some(grant) = row.grant else { continue };
        for role in Role::ALL {
            let reaches = grant.reach(role) != Reach::Nothing;
            assert!(
                !reaches || role.scopes().has(grant.scope),
                "{role} on {}",
                row.path
            );
        }
    }
    let used: Scopes = METHOD_TABLE
        .iter()
        .filter_map(|row| Some(row.grant?.scope))
        .collect();
    assert_eq!(used, Role::Admin.scopes(), "every scope is of use");
    assert!(Role::Service.scopes().covers(Role::Customer.scopes()));
    assert!(Role::Admin.scopes().covers(Role::Service.scopes()));
}

#[test]
fn every_cell_of_the_table_answers_as_it_says() {
    let (own, other) = (customer("c1"), customer("c2"));
    let owners = [
        (Owner::Unread, None),
        (Owner::Nobody, None),
        (Owner::Everybody, None),
        (Owner::Customer(&own), Some(Role::Customer)),
        (Owner::Customer(&other), None),
        (Owner::Account("ada"), None),
        (Owner::Account("bob"), None),
    ];
    let mut cells = 0;
    for row in &METHOD_TABLE {
        let Some(grant) = row.grant else { continue };
        for role in Role::ALL {
            for (owner, owned_by) in owners {
                let mine = match owner {
                    Owner::Unread | Owner::Account("ada") => true,
                    _ => owned_by == Some(role),
                };
                let expected = match grant.reach(role) {
                    Reach::Nothing => Err(Denied::Role),
                    Reach::Own if mine => Ok(()),
                    Reach::Own if matches!(owner, Owner::Nobody | Owner::Everybody) => Err(Denied::Role),
                    Reach::Own => Err(Denied::Hidden),
                    Reach::Everything => Ok(()),
                };
                let all = principal(role, role.scopes());
                assert_eq!(
                    permit(&all, &grant, owner),
                    expected,
                    "{role} on {} of {owner:?}",
                    row.path
                );
                let others = role
                    .scopes()
                    .iter()
                    .filter(|scope| *scope != grant.scope)
                    .collect();
                let without = principal(role, others);
                let expected = match grant.reach(role) {
                    Reach::Nothing => Denied::Role,
                    _ => Denied::Scope(grant.scope),
                };
                assert_eq!(permit(&without, &grant, owner), Err(expected));
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 70 * 3 * 7);
}

#[test]
fn what_a_customer_may_do() {
    let may = |path: &str, owner| {
        permit(
            &principal(Role::Customer, Role::Customer.scopes()),
            &rule_of(path).unwrap().grant.unwrap(),
            owner,
        )
    };
    let (own, other) = (customer("c1"), customer("c2"));
    assert_eq!(
        may("/docket.v1.OrderService/PlaceOrder", Owner::Customer(&own)),
        Ok(())
    );
    assert_eq!(
        may("/docket.v1.OrderService/PlaceOrder", Owner::Customer(&other)),
        Err(Denied::Hidden)
    );
    assert_eq!(
        may("/docket.v1.OrderService/ListOrders", Owner::Everybody),
        Err(Denied::Role)
    );
    assert_eq!(
        may("/docket.v1.OrderService/WatchOrders", Owner::Everybody),
        Err(Denied::Role)
    );
    assert_eq!(
        may("/docket.v1.CustomerService/GetCustomer", Owner::Customer(&other)),
        Err(Denied::Hidden)
    );
    assert_eq!(
        may("/docket.v1.CustomerService/CreditAccount", Owner::Customer(&own)),
        Err(Denied::Role)
    );
    assert_eq!(may("/docket.v1.ItemService/GetItem", Owner::Nobody), Ok(()));
    assert_eq!(
        may("/docket.v1.ItemService/AdjustStock", Owner::Nobody),
        Err(Denied::Role)
    );
    assert_eq!(
        may("/docket.v1.NodeService/GetNodeStatus", Owner::Nobody),
        Err(Denied::Role)
    );
}
