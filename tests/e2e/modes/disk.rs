//! The disk of a node that stands alone: what was written is another, or is not there any more.

use std::{fs, path::Path};

use docket_proto::v1;

use super::{
    Acknowledged, furnish,
    page::{Mode, run},
};
use crate::{
    api::Api,
    server::{Home, Server, verify},
};

const MARKER_BYTES: usize = 200;
/// What of the journal's folder says how far it was acknowledged.
const MARK: &str = "mark";

/// Starts a server, which has to end by itself: what it says last.
fn ends(home: &Home) -> String {
    let server = Server::launch(home);
    let ended = server.ended();
    assert_eq!(ended.code(), Some(1), "{ended}: {}", home.log());
    home.log()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_befalls_a_disk_is_as_the_page_says() {
    let home = Home::new();
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    furnish(&api).await;
    let mut backed_up = Acknowledged::default();
    for _ in 0..3 {
        backed_up.place(&api).await;
    }
    // Something that is found again in a file.
    let marker = "x".repeat(MARKER_BYTES);
    let customer = v1::Customer {
        currency_code: "EUR".into(),
        display_name: marker.clone(),
        ..Default::default()
    };
    let request = v1::CreateCustomerRequest {
        customer_id: "marked".into(),
        customer: Some(customer),
        ..Default::default()
    };
    api.customers().create_customer(request).await.unwrap();
    let place = home.file("repository");
    let place = place.to_str().unwrap();
    let backup = run(
        &home,
        Some(&server),
        "docket backup create --to PLACE",
        &[("PLACE", place)],
    );
    assert!(
        backup.status.success(),
        "{}",
        String::from_utf8_lossy(&backup.stderr)
    );
    server.stop(&home);
    let (journal, older) = (home.data().join("journal"), home.file("older"));
    copy(&journal, &older, |_| true);
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    let mut later = Acknowledged::default();
    later.orders.clone_from(&backed_up.orders);
    later.placed = 100;
    for _ in 0..3 {
        later.place(&api).await;
    }
    server.kill();

    // The disk has nothing any more of what it took since.
    let mode = Mode::of("it lost what it had reported as synced");
    let newest = home.file("newest");
    copy(&journal, &newest, |_| true);
    copy(&older, &journal, |name| name != MARK);
    let said = ends(&home);
    assert!(said.contains(journal.to_str().unwrap()), "{said}");
    println!("{}", said.lines().last().unwrap_or_default());
    copy(&newest, &journal, |_| true);
    verify(&home);
    let server = Server::start(&home);
    later.are_there(&Api::admin(&server, &home).await).await;
    server.stop(&home);
    mode.ends();

    // Bytes of it change.
    let mode = Mode::of("bytes of it change");
    let again = Mode::of("it starts again and again");
    let mut spoilt = 0;
    for entry in files(&journal) {
        let mut bytes = fs::read(&entry).unwrap();
        if let Some(at) = find(&bytes, marker.as_bytes()) {
            bytes[at] ^= 1;
            fs::write(&entry, bytes).unwrap();
            spoilt += 1;
        }
    }
    assert!(spoilt > 0, "the marker is in no file");
    for _ in 0..3 {
        let said = ends(&home);
        let last = said.lines().last().unwrap_or_default();
        assert!(
            last.contains(journal.to_str().unwrap()),
            "its last words are {last:?}"
        );
    }
    again.ends();
    let data = home.data();
    let look = mode.command("docket journal verify");
    let found = run(&home, None, &look, &[("DIR", data.to_str().unwrap())]);
    let said = String::from_utf8_lossy(&found.stdout).into_owned() + &String::from_utf8_lossy(&found.stderr);
    println!("{said}");
    assert!(!found.status.success() && said.contains("not sound"), "{said}");
    assert!(said.contains("frame"), "{said}");

    // A node alone: what was backed up is had again, and what came after that is not.
    let restored = Home::new();
    let (key, new) = (home.admin_key(), restored.data());
    let values = [("PLACE", place), ("NEW", new.to_str().unwrap())];
    let restore = mode.command("docket backup restore");
    let done = run(&restored, None, &restore, &values);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::write(restored.data().join("admin.key"), key).unwrap();
    let server = Server::start(&restored);
    let api = Api::admin(&server, &restored).await;
    backed_up.placed = 200;
    backed_up.are_there(&api).await;
    let there: Vec<_> = api
        .all_orders()
        .await
        .into_iter()
        .map(|order| order.name)
        .collect();
    let lost = later
        .orders
        .iter()
        .filter(|(id, _)| !backed_up.orders.contains_key(*id));
    assert!(lost.map(|(_, name)| name).all(|name| !there.contains(name)));
    mode.says("what came after that is lost");
    server.stop(&restored);
    mode.ends();
}

fn find(bytes: &[u8], of: &[u8]) -> Option<usize> {
    bytes.windows(of.len()).position(|window| window == of)
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files
}

/// Makes a folder what another is, but for what is not wanted.
fn copy(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool + Copy) {
    if to.exists() {
        for file in files(to) {
            if wanted(file.file_name().unwrap().to_str().unwrap()) {
                fs::remove_file(file).unwrap();
            }
        }
    }
    for file in files(from) {
        if !wanted(file.file_name().unwrap().to_str().unwrap()) {
            continue;
        }
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}
