//! What goes wrong on demand, and at which request.

use docket_engine::PaymentKind;
use serde::{Deserialize, Serialize};

/// Faults that may be set at a time.
pub const FAULTS_MAX: usize = 10_000;

/// Something that goes wrong at a certain request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fault {
    /// At which requests: `authorize`, `capture`, `void`, `refund`, `lookup`; without it at any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<On>,
    /// Of which order; without it of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// At which of these requests, from 1, counted since the fault was set. Default 1.
    #[serde(default = "first")]
    pub nth: u64,
    /// And at so many of them in all. Default 1.
    #[serde(default = "first")]
    pub count: u64,
    /// What goes wrong.
    #[serde(flatten)]
    pub what: What,
}

fn first() -> u64 {
    1
}

impl Fault {
    /// `what`, at the first request of this kind.
    pub fn at(on: On, what: What) -> Self {
        Self {
            on: Some(on),
            order: None,
            nth: 1,
            count: 1,
            what,
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// To set money aside.
    Authorize,
    /// To take some of it.
    Capture,
    /// To give it back untaken.
    Void,
    /// To give some of what was taken back.
    Refund,
    /// What became of a key.
    Lookup,
}

impl On {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Authorize,
        Self::Capture,
        Self::Void,
        Self::Refund,
        Self::Lookup,
    ];
}

impl From<PaymentKind> for On {
    fn from(kind: PaymentKind) -> Self {
        match kind {
            PaymentKind::Authorize => Self::Authorize,
            PaymentKind::Capture => Self::Capture,
            PaymentKind::Void => Self::Void,
            PaymentKind::Refund => Self::Refund,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum What {
    /// The step is declined, for good.
    Decline {
        /// What it says.
        #[serde(default)]
        reason: String,
    },
    /// The request is held, undone, until it is released: it was late.
    HoldRequest,
    /// It is done, and the reply held until it is released.
    HoldReply,
    /// The connection ends and nothing was done.
    DropRequest,
    /// It is done, and the connection ends without a reply.
    DropReply,
    /// The request is done as if it had come twice, and answered twice on its connection.
    Twice,
    /// Nothing is done, and this is answered.
    Status {
        /// The HTTP status.
        status: u16,
        /// What `retry-after` says, in seconds; without it there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// It is done, and this is answered.
    StatusAfter {
        /// The HTTP status.
        status: u16,
    },
    /// It is done, and what is answered is not JSON.
    Garbage,
    /// It is done, and answered with so many bytes.
    Flood {
        /// How many.
        bytes: usize,
    },
    /// The provider dies while it writes down what it was about to do: half a record is on its disk.
    DieBefore,
    /// It dies when it has it on its disk, before it answers.
    DieAfter,
}

/// The faults that are set, and what each has seen.
#[derive(Debug, Default)]
pub struct Faults {
    set: Vec<(Fault, u64)>,
}

impl Faults {
    /// Sets more of them; those that were set first go first.
    ///
    /// # Errors
    /// What cannot be; none of them is set then.
    pub fn add(&mut self, faults: Vec<Fault>) -> Result<(), String> {
        if self.set.len() + faults.len() > FAULTS_MAX {
            return Err(format!("at most {FAULTS_MAX} faults can be set at a time"));
        }
        for fault in &faults {
            if fault.nth == 0 {
                return Err("nth counts from 1".to_owned());
            }
            let (What::Status { status, .. } | What::StatusAfter { status }) = fault.what else {
                continue;
            };
            if !(200..=599).contains(&status) {
                return Err(format!("status {status}: must be from 200 to 599"));
            }
        }
        self.set.extend(faults.into_iter().map(|fault| (fault, 0)));
        Ok(())
    }

    /// Sets none any more.
    pub fn clear(&mut self) {
        self.set.clear();
    }

    /// Those that can still happen.
    pub fn left(&self) -> Vec<Fault> {
        self.set.iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// What goes wrong at this request. Each fault counts it, where it is one of its own.
    pub fn next(&mut self, on: On, order: &str) -> Option<What> {
        let mut found = None;
        for (fault, seen) in &mut self.set {
            let is_own =
                fault.on.is_none_or(|own| own == on) && fault.order.as_ref().is_none_or(|own| own == order);
            if !is_own {
                continue;
            }
            *seen += 1;
            if *seen >= fault.nth && found.is_none() {
                found = Some(fault.what.clone());
            }
        }
        self.set
            .retain(|(fault, seen)| *seen < fault.nth.saturating_add(fault.count) - 1);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_written_as_one_object() {
        let text = r#"[{"on":"capture","nth":2,"fault":"drop-reply"},
            {"fault":"status","status":429,"retry_after":7,"order":"A"}]"#;
        let faults: Vec<Fault> = serde_json::from_str(text).unwrap();
        assert_eq!(
            faults[0],
            Fault {
                nth: 2,
                ..Fault::at(On::Capture, What::DropReply)
            }
        );
        assert_eq!(faults[1].on, None);
        assert_eq!(
            faults[1].what,
            What::Status {
                status: 429,
                retry_after: Some(7)
            }
        );
    }

    #[test]
    fn a_fault_happens_at_its_request_and_so_often() {
        let mut faults = Faults::default();
        faults
            .add(vec![Fault {
                nth: 2,
                count: 2,
                ..Fault::at(On::Void, What::Garbage)
            }])
            .unwrap();
        let mut next = |on| faults.next(on, "A").is_some();
        assert!(!next(On::Void));
        assert!(!next(On::Capture));
        assert!(next(On::Void));
        assert!(next(On::Void));
        assert!(!next(On::Void));
        assert_eq!(faults.left(), []);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut faults = Faults::default();
        let bad = |fault| vec![fault];
        let status = What::Status {
            status: 99,
            retry_after: None,
        };
        assert!(faults.add(bad(Fault::at(On::Void, status))).is_err());
        let mut never = Fault::at(On::Void, What::Garbage);
        never.nth = 0;
        assert!(faults.add(bad(never)).is_err());
        assert_eq!(faults.left(), []);
    }
}
