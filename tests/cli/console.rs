//! The console in a real browser, before three nodes of which one dies and comes back. `console/browser.py` says what it does.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{dev::free_ports, support::Shell};

/// Debian's; another where the variable says.
const CHROMIUM: &str = "/usr/bin/chromium";
const CHROMIUM_VARIABLE: &str = "DOCKET_CHROMIUM";
/// With it, the pictures of the documentation are made anew.
const WRITE_DOCS: &str = "DOCKET_WRITE_DOCS";
/// What a customer may call itself.
const MARKUP: &str = "<img/src=x/onerror=alert(1)>";

/// Ended with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

fn chromium() -> PathBuf {
    std::env::var_os(CHROMIUM_VARIABLE).map_or_else(|| CHROMIUM.into(), PathBuf::from)
}

fn is_there() -> bool {
    let playwright = Command::new("python3")
        .args(["-c", "import playwright.sync_api"])
        .output();
    playwright.is_ok_and(|run| run.status.success()) && chromium().exists()
}

#[test]
fn the_console_works_in_a_browser() {
    if !is_there() {
        // Written as it is: what is printed by a test that passes is not shown.
        std::io::stderr()
            .write_all(
                b"SKIPPED: the console in a browser, which is not installed here: \
                  apt-get install chromium; pip install playwright\n",
            )
            .unwrap();
        return;
    }
    let shell = Shell::new();
    let port = free_ports(1);
    let mut dev = shell
        .command(["dev", "--port", &port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(dev.stdout.take().unwrap()).lines();
    let _dev = Running(dev);
    let first = told.next().expect("it says that it is ready").unwrap();
    assert!(first.starts_with("The cluster is ready"), "{first}");

    let key_file = "docket-dev/node-1/admin.key";
    let flags = format!("--addr http://127.0.0.1:{port} --api-key-file {key_file}");
    let (order, odd) = orders(&shell, &flags);
    // Something to look at meanwhile.
    let bench = format!(
        "bench --rate 15 --customers 20 --items 20 --connections 1 --threads 1 --no-baselines --duration 10m --warm-up 1s {flags}"
    );
    let bench = shell
        .command(bench.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let bench = Running(bench.unwrap());

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pictures = match std::env::var_os(WRITE_DOCS) {
        Some(_) => here.join("docs/console"),
        None => shell.path().to_owned(),
    };
    let key = std::fs::read_to_string(shell.path().join(key_file)).unwrap();
    let run = Command::new("python3")
        .arg(here.join("tests/cli/console/browser.py"))
        .arg("--browser")
        .arg(chromium())
        .args(["--admin", &format!("http://127.0.0.1:{}", port + 1)])
        .args(["--order", &order, "--odd", &odd, "--markup", MARKUP])
        .args(["--docket", env!("CARGO_BIN_EXE_docket")])
        .arg("--folder")
        .arg(shell.path())
        .arg("--pictures")
        .arg(pictures)
        .env("DOCKET_CONSOLE_KEY", key.trim())
        .output()
        .unwrap();
    drop(bench);
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    println!("{out}");
    assert!(run.status.success(), "{out}{err}");
    assert_eq!(out.lines().last(), Some("all as it should be"), "{out}{err}");
}

/// Some orders; returns the ids of one that was shipped in part and is held, and of one whose customer and item have odd names.
fn orders(shell: &Shell, flags: &str) -> (String, String) {
    let run = |command: String| shell.run(&format!("{command} {flags}")).ends(0);
    for (customer, called) in [("acme", "Acme"), ("odd", MARKUP)] {
        run(format!(
            "customer create {customer} --currency EUR --credit-limit 500 --display-name {called}"
        ));
    }
    for (sku, price, on_hand, called) in [
        ("tea", "4.50", 200, "Tea"),
        ("pot", "19.90", 12, "Pot"),
        ("odd", "1.00", 9, MARKUP),
    ] {
        run(format!(
            "item create {sku} --currency EUR --price {price} --on-hand {on_hand} --display-name {called}"
        ));
    }
    let place = |customer: &str, what: &str| {
        let placed = run(format!("order place --customer {customer} {what} -o json")).json();
        let name = placed["name"].as_str().unwrap();
        name.strip_prefix("orders/").unwrap().to_owned()
    };
    for what in ["tea:1", "pot:1", "tea:4 pot:1"] {
        place("acme", what);
    }
    let cancelled = place("acme", "tea:2");
    run(format!("order cancel {cancelled}"));
    let odd = place("odd", "odd:1");
    let order = place("acme", "tea:6 pot:2");
    run(format!("order ship {order} tea:2 --carrier post --tracking AB-1"));
    run(format!("order hold {order} address --note street-is-missing"));
    (order, odd)
}
