//! What the stub answers to what: the contract's three questions, and what tests ask.

use bytes::Bytes;
use docket_engine::PaymentKind;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Fault, On, Stub, What, ledger::Decision, serve::Gone};
use crate::wire::{KEY_HEADER, Outcome, Refusal, StepBody, StepReply};

/// The longest request, in bytes: a script of faults may be long.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// What is answered, and whether twice.
pub struct Routed {
    pub response: Response<Full<Bytes>>,
    pub twice: bool,
}

/// One fault, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Script {
    Several(Vec<Fault>),
    One(Fault),
}

/// What a provider is asked.
enum Asked {
    Step(PaymentKind, StepBody),
    Lookup,
}

impl Stub {
    /// Deals with a request, faults included.
    ///
    /// # Errors
    /// There is no reply.
    pub(super) async fn route(&self, request: Request<Incoming>) -> Result<Routed, Gone> {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, REQUEST_BYTES_MAX).collect().await else {
            return Ok(refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long").into());
        };
        let body = body.to_bytes();
        let path: Vec<_> = head.uri.path().split('/').skip(1).collect();
        let response = match (&head.method, path.as_slice()) {
            (&Method::POST, ["payments", order, kind]) => {
                return match self.step(&head.headers, order, kind, &body) {
                    Ok((key, asked)) => self.provide(order, &key, asked).await,
                    Err(refusal) => Ok((*refusal).into()),
                };
            }
            (&Method::GET, ["payments", order, "steps"]) => {
                let query = head.uri.query().unwrap_or_default();
                return match (self.authenticate(&head.headers), query.strip_prefix("key=")) {
                    (Err(refusal), _) => Ok((*refusal).into()),
                    (Ok(()), Some(key)) => self.provide(order, key, Asked::Lookup).await,
                    (Ok(()), None) => Ok(refuse(StatusCode::BAD_REQUEST, "?key= is needed").into()),
                };
            }
            (&Method::GET, ["ledger"]) => reply(StatusCode::OK, &self.report()),
            (&Method::GET, ["requests"]) => reply(StatusCode::OK, &self.requests()),
            (&Method::GET, ["faults"]) => reply(StatusCode::OK, &self.faults()),
            (&Method::POST, ["faults"]) => match serde_json::from_slice(&body) {
                Ok(script) => {
                    let faults = match script {
                        Script::Several(faults) => faults,
                        Script::One(fault) => vec![fault],
                    };
                    match self.add_faults(faults) {
                        Ok(()) => reply(StatusCode::OK, &self.faults()),
                        Err(why) => refuse(StatusCode::BAD_REQUEST, &why),
                    }
                }
                Err(error) => refuse(
                    StatusCode::BAD_REQUEST,
                    &format!("not a fault or a list of them: {error}"),
                ),
            },
            (&Method::DELETE, ["faults"]) => {
                self.clear_faults();
                reply(StatusCode::OK, &self.faults())
            }
            (&Method::POST, ["release"]) => reply(StatusCode::OK, &json!({ "released": self.release() })),
            _ => refuse(StatusCode::NOT_FOUND, "there is nothing here"),
        };
        Ok(response.into())
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<(), Box<Response<Full<Bytes>>>> {
        let Some(token) = &self.shared.token else {
            return Ok(());
        };
        let expected = format!("Bearer {}", token.expose_secret());
        match headers.get(header::AUTHORIZATION) {
            Some(shown) if shown.as_bytes() == expected.as_bytes() => Ok(()),
            _ => Err(Box::new(refuse(
                StatusCode::UNAUTHORIZED,
                "the token is not the one that is needed",
            ))),
        }
    }

    /// Takes a step apart.
    fn step(
        &self,
        headers: &HeaderMap,
        order: &str,
        kind: &str,
        body: &[u8],
    ) -> Result<(String, Asked), Box<Response<Full<Bytes>>>> {
        self.authenticate(headers)?;
        let refused = |why: &str| Box::new(refuse(StatusCode::BAD_REQUEST, why));
        let Some(kind) = PaymentKind::ALL.into_iter().find(|one| one.to_string() == kind) else {
            return Err(Box::new(refuse(StatusCode::NOT_FOUND, "there is no such step")));
        };
        let key = headers.get(KEY_HEADER).and_then(|key| key.to_str().ok());
        let key = key.filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
        let key = key.ok_or_else(|| refused("an idempotency-key of 1 to 256 characters is needed"))?;
        let body: StepBody = serde_json::from_slice(body).map_err(|error| refused(&error.to_string()))?;
        if body.order != order {
            return Err(refused("order is another one than that of the path"));
        }
        if body.amount <= 0 {
            return Err(refused("amount must be more than 0"));
        }
        Ok((key.to_owned(), Asked::Step(kind, body)))
    }

    /// What a provider does, and what goes wrong with it.
    async fn provide(&self, order: &str, key: &str, asked: Asked) -> Result<Routed, Gone> {
        let on = match asked {
            Asked::Step(kind, _) => On::from(kind),
            Asked::Lookup => On::Lookup,
        };
        let (number, fault) = self.shared.inner.lock().arrived(on, order, key);
        let respond = |response: Response<Full<Bytes>>, twice| {
            self.shared
                .inner
                .lock()
                .answered(number, response.status().as_u16());
            Ok(Routed { response, twice })
        };
        match &fault {
            Some(What::DropRequest) => return Err(Gone),
            Some(What::HoldRequest) => self.hold().await,
            Some(What::Status { status, retry_after }) => {
                return respond(with_status(*status, *retry_after), false);
            }
            _ => {}
        }
        let mut response = self.perform(order, key, &asked, fault.as_ref())?;
        match fault {
            Some(What::DropReply) => return Err(Gone),
            Some(What::HoldReply) => self.hold().await,
            Some(What::StatusAfter { status }) => response = with_status(status, None),
            Some(What::Garbage) => {
                *response.body_mut() = Full::from("<!doctype html><title>Welcome</title>");
            }
            Some(What::Flood { bytes }) => *response.body_mut() = Full::from(vec![b' '; bytes]),
            Some(What::Twice) => {
                response = self.perform(order, key, &asked, None)?;
                return respond(response, true);
            }
            _ => {}
        }
        respond(response, false)
    }

    /// What a provider does. Short, and on the disk when it returns.
    fn perform(
        &self,
        order: &str,
        key: &str,
        asked: &Asked,
        fault: Option<&What>,
    ) -> Result<Response<Full<Bytes>>, Gone> {
        let mut inner = self.shared.inner.lock();
        let inner = &mut *inner;
        let ledger = &mut inner.life.as_mut().ok_or(Gone)?.ledger;
        let (status, step) = match asked {
            Asked::Lookup => match ledger.lookup(order, key) {
                Some(step) => (StatusCode::OK, step.clone()),
                None if matches!(fault, Some(What::DieBefore | What::DieAfter)) => {
                    self.die(inner);
                    return Err(Gone);
                }
                None => return Ok(refuse(StatusCode::NOT_FOUND, "the key was never seen")),
            },
            Asked::Step(kind, body) => {
                let decline = match fault {
                    Some(What::Decline { reason }) => Some(reason.as_str()),
                    _ => None,
                };
                let step = match ledger.decide(*kind, key, body, decline) {
                    Decision::Known(step) => step,
                    Decision::OtherBody => {
                        return Ok(refuse(
                            StatusCode::UNPROCESSABLE_ENTITY,
                            "the key was asked before, with something else",
                        ));
                    }
                    Decision::New(record) => {
                        let written = match fault {
                            Some(What::DieBefore) => inner.store.append_half(&record),
                            _ => inner.store.append(&record),
                        };
                        // What is not on the disk for certain is never said.
                        if written.is_err() {
                            self.die(inner);
                            return Err(Gone);
                        }
                        let step = record.reply.clone();
                        if fault != Some(&What::DieBefore) {
                            ledger.apply(*record);
                        }
                        step
                    }
                };
                (status_of(&step), step)
            }
        };
        if matches!(fault, Some(What::DieBefore | What::DieAfter)) {
            self.die(inner);
            return Err(Gone);
        }
        Ok(reply(status, &step))
    }

    /// Waits to be released.
    async fn hold(&self) {
        let mut released = self.shared.released.subscribe();
        let before = *released.borrow_and_update();
        self.shared.held.send_modify(|held| *held += 1);
        let _held = Held(self);
        // The sender is in `self`.
        let _ = released.wait_for(|count| *count > before).await;
    }
}

/// Counts what is held, also where it ends with a death.
struct Held<'a>(&'a Stub);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.shared.held.send_modify(|held| *held -= 1);
    }
}

fn status_of(step: &StepReply) -> StatusCode {
    match step.outcome {
        Outcome::Done { .. } => StatusCode::OK,
        Outcome::Declined { .. } => StatusCode::PAYMENT_REQUIRED,
    }
}

fn reply(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    // Plain structs always serialise; were it not so, the empty reply would be seen as what it is.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn refuse(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    reply(
        status,
        &Refusal {
            reason: reason.to_owned(),
        },
    )
}

fn with_status(status: u16, retry_after: Option<u64>) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = refuse(status, "on demand");
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

impl From<Response<Full<Bytes>>> for Routed {
    fn from(response: Response<Full<Bytes>>) -> Self {
        Self {
            response,
            twice: false,
        }
    }
}
