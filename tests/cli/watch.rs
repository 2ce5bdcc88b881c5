//! `docket order watch`: what happens is shown as it happens, and nothing is missed between two watches.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{server::Server, shop::shop, support::Shell};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Watch {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    fn start(shell: &Shell, args: &str) -> Self {
        let mut child = shell
            .command(args.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let shown = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            shown
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// Ends it as Ctrl-C does: what it said beside its lines.
    fn interrupt(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{said}");
        said
    }
}

fn token(said: &str) -> &str {
    let found = said
        .lines()
        .find_map(|line| line.strip_prefix("go on with: --resume "));
    found.unwrap_or_else(|| panic!("no token in {said}"))
}

fn place(shell: &Shell, flags: &str, lines: &str) -> String {
    let placed = shell
        .run(&format!("order place --customer acme {lines} -o json {flags}"))
        .ends(0);
    let name = placed.json()["name"].as_str().unwrap().to_owned();
    name.strip_prefix("orders/").unwrap().to_owned()
}

#[test]
fn a_watch_shows_what_happens_in_80_columns_and_the_next_one_goes_on_behind_it() {
    let (shell, server, flags) = shop();
    let first = place(&shell, &flags, "tea:2");
    shell
        .run(&format!("order place --customer acme tea:99 {flags}"))
        .ends(1);
    let watch = Watch::start(&shell, &format!("order watch --oldest {flags}"));
    let lines: Vec<String> = (0..5).map(|_| watch.line()).collect();
    for (line, kind) in lines.iter().zip(["PLACED", "CONFIRMED", "PLACED", "REJECTED"]) {
        assert!(line.chars().count() <= 80, "{line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[1], words.last()), (kind, Some(&"acme")), "{line}");
    }
    assert!(
        lines[1].contains(&first) && lines[1].contains("9.00 EUR"),
        "{}",
        lines[1]
    );
    assert!(
        lines[4].trim_start().starts_with("INSUFFICIENT_CREDIT: "),
        "{}",
        lines[4]
    );
    // What happens is shown when it happens.
    let second = place(&shell, &flags, "pot:1");
    assert!(watch.line().contains(&second));
    assert!(watch.line().contains("CONFIRMED"));
    let said = watch.interrupt();
    let token = token(&said);

    // Between two watches.
    let third = place(&shell, &flags, "tea:1");
    let resumed = Watch::start(&shell, &format!("order watch --resume {token} -o json {flags}"));
    let lines: Vec<serde_json::Value> = (0..2)
        .map(|_| serde_json::from_str(&resumed.line()).unwrap())
        .collect();
    for (line, kind) in lines.iter().zip(["PLACED", "CONFIRMED"]) {
        assert_eq!(
            (&line["kind"], &line["order"]["name"]),
            (&kind.into(), &format!("orders/{third}").into())
        );
    }
    assert!(lines[1]["resume_token"].is_string());
    resumed.interrupt();
    shell
        .run(&format!("order watch --customer acme --resume {token} {flags}"))
        .ends(1)
        .says("resume_token");
    server.stop();
}

#[test]
fn a_watch_waits_for_a_server_that_restarts() {
    let (shell, server, flags) = shop();
    let watch = Watch::start(&shell, &format!("order watch --oldest --customer acme {flags}"));
    let first = place(&shell, &flags, "tea:1");
    assert!(watch.line().contains(&first) && watch.line().contains("CONFIRMED"));
    let address = server.grpc_socket().to_string();
    server.stop();
    let args = [
        "serve",
        "--listen",
        &address,
        "--admin-listen",
        "127.0.0.1:0",
        "-o",
        "json",
    ];
    let server = Server::spawn(&shell, shell.command(args));
    let second = place(&shell, &server.flags(), "tea:1");
    assert!(watch.line().contains(&second) && watch.line().contains("CONFIRMED"));
    assert!(watch.interrupt().contains("is resumed"));
    server.stop();
}
