//! The page about providers, `docs/payments.md`: what it has one type at the stub is typed, and answered as it is written there.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

const PAGE: &str = "../docs/payments.md";
/// Where the page's stub listens; here at any free port.
const LISTENS: &str = "127.0.0.1:7090";
/// In front of each answer.
const MARK: &str = "--- answer of ";

/// The blocks of the page whose fences begin so.
fn blocks(fence: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(path).unwrap();
    let mut lines = page.lines();
    let mut found = Vec::new();
    while lines.by_ref().any(|line| line.starts_with(fence)) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push(block.join("\n"));
    }
    found
}

/// The stub, started by a command of the page; killed when dropped.
struct Stub {
    child: Child,
    address: String,
}

impl Stub {
    fn start(command: &str, folder: &Path) -> Self {
        let mut words = command.split_whitespace();
        assert!(
            words.next().unwrap().ends_with("docket-payment-stub"),
            "{command}"
        );
        let mut args: Vec<String> = words.map(|word| word.replace(LISTENS, "127.0.0.1:0")).collect();
        if !args.iter().any(|arg| arg == "--listen") {
            args.extend(["--listen", "127.0.0.1:0"].map(str::to_owned));
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_docket-payment-stub"))
            .args(&args)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim_end().strip_prefix("listens at http://");
        let address = address
            .unwrap_or_else(|| panic!("`{command}` says {line:?}"))
            .to_owned();
        Self { child, address }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Types these commands one after the other in one shell, and gives what each printed.
fn types(commands: &[String], stub: &Stub, folder: &Path) -> Vec<String> {
    let mut script = "curl() { command curl -sS --max-time 20 \"$@\" 2>&1 || true; }\n".to_owned();
    for (at, command) in commands.iter().enumerate() {
        let command = command.replace("localhost:7090", &stub.address);
        script += &format!("printf '\\n{MARK}{at}\\n'\n{command}\n");
    }
    let run = Command::new("bash")
        .args(["-euc", &script])
        .current_dir(folder)
        .output()
        .unwrap();
    let printed = String::from_utf8(run.stdout).unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{printed}\n{said}");
    let answers = printed.split(MARK).skip(1);
    let answers: Vec<String> = answers
        .map(|answer| answer.split_once('\n').unwrap().1.to_owned())
        .collect();
    assert_eq!(answers.len(), commands.len(), "{printed}\n{said}");
    answers
}

/// As it is read, wherever lines are broken.
fn plain(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn the_stub_is_started_and_answers_as_the_page_writes() {
    if Command::new("curl").arg("--version").output().is_err() {
        return println!("SKIPPED: there is no curl");
    }
    let folder = tempfile::tempdir().unwrap();
    let started = blocks("```sh run-by=\"payments/tests/it/page.rs\"");
    let command = started[0]
        .lines()
        .find(|line| line.contains("docket-payment-stub --"));
    let stub = Stub::start(command.unwrap(), folder.path());
    assert!(folder.path().join("ledger.jsonl").exists());
    drop(stub);
    fs::remove_file(folder.path().join("ledger.jsonl")).unwrap();

    let typed = blocks("```console run-by=\"payments/tests/it/page.rs\"");
    // A command, which goes on behind a backslash, and what was printed behind it.
    let mut steps: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in typed[0].lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push((command.to_owned(), String::new()));
        } else {
            let (command, answer) = steps.last_mut().unwrap();
            let text = if goes_on { command } else { answer };
            text.push('\n');
            text.push_str(line);
        }
        goes_on = line.ends_with('\\');
    }
    let (start, says) = steps.remove(0);
    assert_eq!(plain(&says), plain(&format!("listens at http://{LISTENS}")));
    let mut stub = Stub::start(&start, folder.path());
    let commands: Vec<String> = steps.iter().map(|(command, _)| command.clone()).collect();
    let answers = types(&commands, &stub, folder.path());
    for ((command, written), answer) in steps.iter().zip(&answers) {
        assert_eq!(plain(answer), plain(written), "{command}");
    }
    assert!(steps.len() > 4, "{steps:?}");

    // "Once more with a refund", and the process is gone with half a record on its disk.
    let once_more = |commands: &[&str], stub: &Stub| {
        let commands: Vec<String> = ["O=01KDBZZZZZZZZZZZZZZZZZZZZZ"]
            .iter()
            .chain(commands)
            .map(|command| (*command).to_owned())
            .collect();
        types(&commands, stub, folder.path()).pop().unwrap()
    };
    let ledger = || fs::read(folder.path().join("ledger.jsonl")).unwrap();
    let before = ledger();
    once_more(
        &[
            r#"curl -d '{"on":"refund","fault":"die-before"}' localhost:7090/faults"#,
            r#"curl -H "idempotency-key: $O/refund-3/1" localhost:7090/payments/$O/refund -d '{"order":"'$O'","customer":"ada","currency_code":"EUR","amount":100,"step":3,"capture":"capture-2"}'"#,
        ],
        &stub,
    );
    assert_eq!(stub.child.wait().unwrap().code(), Some(3));
    assert!(ledger().len() > before.len(), "half a record is on its disk");
    let stub = Stub::start(&start, folder.path());
    assert_eq!(ledger(), before, "it is gone");
    let status = once_more(
        &[r#"curl -o gone -w '%{http_code}' "localhost:7090/payments/$O/steps?key=$O/refund-3/1""#],
        &stub,
    );
    assert_eq!(plain(&status), "404");
}
