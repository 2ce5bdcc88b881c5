//! `docs/api/openapi.json`, made from the contract and its comments, so that it cannot say anything else.

use std::{collections::BTreeSet, fs, process::Command};

use docket_engine::access::rule_of;
use docket_rest::{Gateway, ROUTES, document};
use serde_json::Value;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api/openapi.json");

fn made() -> Value {
    document(&Gateway::new().unwrap())
}

#[test]
fn the_document_that_is_kept_says_what_the_contract_does() {
    let made = made();
    if std::env::var_os("DOCKET_WRITE_DOCS").is_some() {
        fs::write(PATH, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let kept = fs::read_to_string(PATH).unwrap_or_default();
    let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
    assert!(
        kept == made,
        "docs/api/openapi.json is not what the contract says; run this with DOCKET_WRITE_DOCS=1 and look at what changes"
    );
}

#[test]
fn all_of_it_is_there_and_says_what_it_is_for() {
    let made = made();
    let (mut operations, mut open) = (BTreeSet::new(), BTreeSet::new());
    for (path, verbs) in made["paths"].as_object().unwrap() {
        for (verb, operation) in verbs.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(operations.insert(id), "{id} is there twice");
            assert!(
                operation["description"].as_str().unwrap().len() > 10,
                "{verb} {path}"
            );
            if operation.get("security").is_some() {
                open.insert(id.to_owned());
            }
        }
    }
    assert_eq!(operations.len(), ROUTES.len());
    let named = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let expected = ROUTES
        .iter()
        .filter(|rule| rule_of(rule.method).unwrap().grant.is_none());
    assert_eq!(open, expected.map(|rule| named(rule.method)).collect());
    for (name, schema) in made["components"]["schemas"].as_object().unwrap() {
        assert!(!schema["description"].as_str().unwrap().is_empty(), "{name}");
        for (field, of) in schema["properties"].as_object().into_iter().flatten() {
            let told = of.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(!told.is_empty() || name == "google.rpc.Status", "{name}.{field}");
        }
    }
}

#[test]
fn a_strict_validator_finds_nothing_in_it() {
    let has = Command::new("python3")
        .args(["-c", "import openapi_spec_validator"])
        .output()
        .is_ok_and(|run| run.status.success());
    if !has {
        use std::io::Write as _;
        // Written as it is: what is printed by a test that passes is not shown.
        let told = b"SKIPPED: OpenAPI's validator, which is not installed here: pip install openapi-spec-validator\n";
        std::io::stderr().write_all(told).unwrap();
        return;
    }
    let check = "import json, sys\n\
                 from openapi_spec_validator import OpenAPIV31SpecValidator\n\
                 wrong = [str(e.message) for e in OpenAPIV31SpecValidator(json.load(open(sys.argv[1]))).iter_errors()]\n\
                 sys.exit('\\n'.join(wrong[:20]) or 0)";
    let run = Command::new("python3")
        .args(["-c", check, PATH])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
