//! The permission table against the contract.

use std::collections::BTreeSet;

use docket_engine::access::METHOD_TABLE;
use prost::Message;

fn methods_of_the_contract() -> BTreeSet<String> {
    let set = prost_types::FileDescriptorSet::decode(docket_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut methods = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                methods.insert(format!(
                    "/{}.{}/{}",
                    file.package(),
                    service.name(),
                    method.name()
                ));
            }
        }
    }
    methods
}

#[test]
fn every_method_of_the_contract_has_a_row_and_every_row_a_method() {
    let rows: BTreeSet<String> = METHOD_TABLE.iter().map(|row| row.path.to_owned()).collect();
    let methods = methods_of_the_contract();
    assert!(methods.len() > 20, "the descriptor is whole");
    let without_row: Vec<_> = methods.difference(&rows).collect();
    assert!(without_row.is_empty(), "methods without a row: {without_row:?}");
    let without_method: Vec<_> = rows
        .difference(&methods)
        .filter(|path| path.starts_with("/docket."))
        .collect();
    assert!(
        without_method.is_empty(),
        "rows without a method: {without_method:?}"
    );
}

#[test]
fn only_what_needs_no_credential_is_open() {
    let open: Vec<_> = METHOD_TABLE
        .iter()
        .filter(|row| row.grant.is_none())
        .map(|row| row.path)
        .collect();
    let expected = [
        "/docket.v1.AuthService/Login",
        "/docket.v1.AuthService/Logout",
        "/docket.v1.AuthService/Refresh",
        // The secret that two clusters share is in its request.
        "/docket.v1.StandbyService/ExchangeEpochs",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ];
    assert_eq!(open, expected);
}
