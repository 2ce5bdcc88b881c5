//! The provider that pays for some orders: `docket-payment-stub`, or whatever keeps the contract of docs/payments.md and shows its books and takes faults as
//! that does. It fails while a round is on, in the same manner each time, and is whole while the books are checked.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{Error, books::Led, server};

/// What it is called.
pub const PROVIDER: &str = "stub";

/// A provider at `IP:PORT`.
#[derive(Clone, Debug)]
pub struct Paying {
    address: String,
}

impl Paying {
    /// The one at this address.
    pub fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }

    /// How a server's configuration names it.
    pub fn section(&self) -> String {
        format!(
            "\n[payments.providers.{PROVIDER}]\nurl = \"http://{}\"\ntimeout_ms = 1000\nbackoff_min_ms = 5\n\
             backoff_max_ms = 50\nbreaker_open_ms = 100\n",
            self.address
        )
    }

    /// Has it fail now and then from here on: not heard, heard and not answered, answered twice, out of order. It declines nothing.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn fail(&self) -> Result<(), Error> {
        let fault = |on: &str, nth: u64, fault: &str| json!({ "on": on, "nth": nth, "fault": fault });
        let faults = json!([
            fault("authorize", 5, "drop-reply"),
            fault("capture", 2, "drop-reply"),
            fault("capture", 7, "drop-request"),
            fault("void", 2, "drop-reply"),
            fault("refund", 2, "drop-reply"),
            fault("lookup", 2, "drop-request"),
            fault("authorize", 11, "twice"),
            fault("capture", 11, "twice"),
            { "on": "void", "nth": 5, "fault": "status", "status": 503 },
            { "on": "capture", "nth": 17, "fault": "status-after", "status": 500 },
            fault("refund", 5, "garbage"),
        ]);
        self.ask("POST", "/faults", faults.to_string()).await.map(drop)
    }

    /// Has it fail no more.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn mend(&self) -> Result<(), Error> {
        self.ask("DELETE", "/faults", String::new()).await.map(drop)
    }

    /// What is wrong with its books: those of orders that are led, of which nothing is due any more, and whatever it was asked that must not be.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn differences(&self, led: &[&Led]) -> Result<Vec<String>, Error> {
        let ledger = self.ask("GET", "/ledger", String::new()).await?;
        let violations = ledger["violations"].as_array().into_iter().flatten();
        let mut told: Vec<String> = violations
            .map(|it| format!("the provider was asked for what must not be: {it}"))
            .collect();
        for led in led.iter().filter(|led| led.by_provider) {
            let name = led.order.name();
            let theirs = &ledger["payments"][name.trim_start_matches("orders/")];
            let of = |field: &str| theirs[field].as_i64().unwrap_or_default();
            let is = (
                of("authorized") - of("captured") - of("voided"),
                of("captured"),
                of("refunded"),
            );
            let prices = led.prices();
            let must = (
                led.life.held(&prices),
                led.life.captured(&prices),
                led.life.refunded(),
            );
            if is != must {
                told.push(format!(
                    "{name}: the provider has set aside, taken and given back {is:?}, must be {must:?}: {theirs}"
                ));
            }
        }
        Ok(told)
    }

    async fn ask(&self, method: &'static str, path: &'static str, body: String) -> Result<Value, Error> {
        let address = self.address.clone();
        let asked = tokio::task::spawn_blocking(move || server::exchange(&address, method, path, &body));
        let asked = asked
            .await
            .map_err(|_| Error::Broken("asking the payment provider panicked"))?;
        let answer = asked.map_err(Error::system("ask the payment provider"))?;
        serde_json::from_str(&answer).map_err(|_| Error::Broken("the payment provider answers with no JSON"))
    }
}

/// A process of `docket-payment-stub`, which ends with this value.
#[derive(Debug)]
pub struct Stub {
    child: Child,
    address: String,
}

impl Stub {
    /// Starts `program` on a free port, and waits until it listens.
    ///
    /// # Errors
    /// It cannot be started, or says nothing.
    pub fn start(program: &Path) -> Result<Self, Error> {
        let mut command = Command::new(program);
        command
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = command
            .spawn()
            .map_err(Error::system(format!("start {}", program.display())))?;
        let mut stub = Self {
            child,
            address: String::new(),
        };
        let stdout = stub.child.stdout.take();
        let stdout = stdout.ok_or(Error::Broken("the payment provider has no stdout"))?;
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        read.map_err(Error::system("hear from the payment provider"))?;
        let address = line.trim().strip_prefix("listens at http://");
        let address = address.ok_or(Error::Broken(
            "the payment provider does not say where it listens",
        ))?;
        stub.address = address.to_owned();
        Ok(stub)
    }

    /// The way to it.
    pub fn paying(&self) -> Paying {
        Paying::at(&self.address)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // It may have ended already, and there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
