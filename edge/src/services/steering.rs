//! The part of `NodeService` that is about feature flags and callers' own limits.
//!
//! What changes them is done where the meta group is led. What reads them is answered by the node that is asked, by what it goes by now: so
//! that an operator can see of each node that a change has come there.

use std::time::Duration;

use docket_actors::{CallError, Docket, steering::SteeringError};
use docket_audit::Audit;
use docket_engine::{
    CustomerId,
    access::{Owner, Principal, Role},
    steering::{
        FLAGS, Flag, FlagName, FlagRule, Limited, Share, Steering, SteeringCommand, SteeringRejection,
        SteeringRequest, Subject,
        limits::{FLAGS_MAX, LIMITS_MAX},
    },
};
use docket_proto::{
    api::steering::{self, flag_name, flag_to_proto, limit_name, limit_to_proto},
    v1,
};
use tonic::{Code, Request};

use super::{accept, allowed, context};
use crate::{
    audit::Change,
    auth::{Clock, is_external},
    errors::Refusal,
    gate::CallContext,
};

/// When to try again where the meta group has no leader here, or the state changed under a command.
const RETRY: Duration = Duration::from_millis(100);

/// Flags and limits of a node.
pub(crate) struct SteeringApi {
    docket: Docket,
    clock: Clock,
    audit: Audit,
}

/// What a request is about.
#[derive(Clone)]
enum About {
    Flag(FlagName),
    Limit(Limited),
}

impl SteeringApi {
    pub(crate) fn new(docket: Docket, audit: Audit) -> Self {
        Self {
            docket,
            clock: Clock::system(),
            audit,
        }
    }

    pub(crate) async fn set_flag(
        &self,
        request: Request<v1::SetFlagRequest>,
    ) -> Result<v1::FeatureFlag, Refusal> {
        let context = permitted(&request)?;
        let asked = accept(steering::set_flag(request.get_ref()))?;
        let flag = asked.flag;
        let request = SteeringRequest::SetFlag {
            flag: flag.clone(),
            rule: asked.rule,
            expected: asked.expected,
            force: asked.force,
        };
        self.execute(&context, request, About::Flag(flag.clone())).await?;
        Ok(self.read(|state| shown(state, &flag)))
    }

    pub(crate) async fn unset_flag(
        &self,
        request: Request<v1::UnsetFlagRequest>,
    ) -> Result<v1::FeatureFlag, Refusal> {
        let context = permitted(&request)?;
        let (flag, expected) = accept(steering::unset_flag(request.get_ref()))?;
        let request = SteeringRequest::UnsetFlag {
            flag: flag.clone(),
            expected,
        };
        self.execute(&context, request, About::Flag(flag.clone())).await?;
        Ok(self.read(|state| shown(state, &flag)))
    }

    pub(crate) fn get_flag(&self, request: &Request<v1::GetFlagRequest>) -> Result<v1::FeatureFlag, Refusal> {
        permitted(request)?;
        let asked = accept(steering::get_flag(request.get_ref()))?;
        let flag = asked.flag;
        let (set, mut found) = self.read(|state| (state.flag(flag.as_str()).cloned(), shown(state, &flag)));
        if set.is_none() && !flag.is_known() {
            return Err(refusal(
                SteeringRejection::UnknownFlag.into(),
                Some(&About::Flag(flag)),
            ));
        }
        if asked.customer.is_some() || asked.role.is_some() {
            found.on = Some(match set {
                Some(set) => is_on(&set.rule, &flag, asked.customer.as_ref(), asked.role),
                None => steering::is_on_by_default(flag.as_str()),
            });
        }
        Ok(found)
    }

    pub(crate) fn list_flags(
        &self,
        request: &Request<v1::ListFlagsRequest>,
    ) -> Result<v1::ListFlagsResponse, Refusal> {
        permitted(request)?;
        let mut flags = self.read(|state| {
            let set = state.flags();
            let set = set.map(|(flag, entry)| flag_to_proto(flag.as_str(), Some(entry)));
            set.collect::<Vec<_>>()
        });
        for declared in &FLAGS {
            let name = flag_name(declared.name);
            if let Err(at) = flags.binary_search_by(|flag| flag.name.cmp(&name)) {
                flags.insert(at, flag_to_proto(declared.name, None));
            }
        }
        Ok(v1::ListFlagsResponse { flags })
    }

    pub(crate) async fn set_limit(
        &self,
        request: Request<v1::SetLimitRequest>,
    ) -> Result<v1::CallerLimit, Refusal> {
        let context = permitted(&request)?;
        let asked = accept(steering::set_limit(request.get_ref()))?;
        let of = asked.of;
        let request = SteeringRequest::SetLimit {
            of: of.clone(),
            limit: asked.limit,
            expected: asked.expected,
        };
        self.execute(&context, request, About::Limit(of.clone())).await?;
        self.limit(&of)
    }

    pub(crate) async fn unset_limit(
        &self,
        request: Request<v1::UnsetLimitRequest>,
    ) -> Result<v1::UnsetLimitResponse, Refusal> {
        let context = permitted(&request)?;
        let (of, expected) = accept(steering::unset_limit(request.get_ref()))?;
        let request = SteeringRequest::UnsetLimit {
            of: of.clone(),
            expected,
        };
        self.execute(&context, request, About::Limit(of)).await?;
        Ok(v1::UnsetLimitResponse {})
    }

    pub(crate) fn get_limit(
        &self,
        request: &Request<v1::GetLimitRequest>,
    ) -> Result<v1::CallerLimit, Refusal> {
        permitted(request)?;
        self.limit(&accept(steering::get_limit(request.get_ref()))?)
    }

    pub(crate) fn list_limits(
        &self,
        request: &Request<v1::ListLimitsRequest>,
    ) -> Result<v1::ListLimitsResponse, Refusal> {
        permitted(request)?;
        let asked = accept(steering::list_limits(request.get_ref()))?;
        Ok(self.read(|state| {
            let mut all = state.limits(asked.after.as_ref()).peekable();
            let mut limits = Vec::new();
            let mut last = None;
            while let Some((of, entry)) = all.next_if(|_| limits.len() < asked.limit) {
                last = Some(of);
                limits.push(limit_to_proto(of, entry));
            }
            let last = last.filter(|_| all.peek().is_some());
            v1::ListLimitsResponse {
                limits,
                next_page_token: last.map(steering::next_limit_page).unwrap_or_default(),
            }
        }))
    }

    fn limit(&self, of: &Limited) -> Result<v1::CallerLimit, Refusal> {
        let found = self.read(|state| state.limit(of).map(|entry| limit_to_proto(of, entry)));
        found.ok_or_else(|| {
            let message = "it has no limit of its own: its role's holds";
            Refusal::new(Code::NotFound, "LIMIT_NOT_FOUND", message)
                .resource("docket.v1.CallerLimit", limit_name(of))
        })
    }

    /// Whether a limit may be set for it.
    fn exists(&self, of: &Limited) -> bool {
        self.docket.access().read(|state| match of {
            // Who comes with a token of another issuer has no account here, and a bucket as everybody has.
            Limited::Account(account) => is_external(account) || state.account(account.as_str()).is_some(),
            Limited::ApiKey(key) => state.api_key(*key).is_some(),
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Steering) -> T) -> T {
        self.docket.steering().read(look)
    }

    async fn execute(
        &self,
        context: &CallContext,
        request: SteeringRequest,
        about: About,
    ) -> Result<(), Refusal> {
        let action = match &request {
            SteeringRequest::SetFlag { .. } => "flag.set",
            SteeringRequest::UnsetFlag { .. } => "flag.unset",
            SteeringRequest::SetLimit { .. } => "limit.set",
            SteeringRequest::UnsetLimit { .. } => "limit.unset",
        };
        let target = match &about {
            About::Flag(flag) => flag_name(flag.as_str()),
            About::Limit(of) => limit_name(of),
        };
        let change = with_details(Change::of(context, action, target), &request);
        let command = SteeringCommand {
            time: self.clock.now(),
            by: context.principal.account.clone(),
            request,
        };
        let steered = async {
            // One that is made a moment later is told here; accounts do not go again.
            if let SteeringRequest::SetLimit { of, .. } = &command.request
                && !self.exists(of)
            {
                return Err(no_such_caller(of));
            }
            let done = self.docket.steering().execute(&command).await;
            done.map_err(|error| refusal(error, Some(&about)))
        };
        change.run(&self.audit, steered).await
    }
}

/// What is set, as it is recorded: of customers only how many, since they may be people.
fn with_details(change: Change, request: &SteeringRequest) -> Change {
    match request {
        SteeringRequest::SetFlag { rule, force, .. } => {
            let set = match rule.share {
                Share::NOBODY => "off".to_owned(),
                Share::ALL => "on".to_owned(),
                share => format!("{}.{:02} %", share.hundredths() / 100, share.hundredths() % 100),
            };
            let roles: Vec<_> = rule.roles.iter().map(|role| role.as_str()).collect();
            change
                .detail("share", set)
                .detail("customers", rule.customers.len().to_string())
                .detail("roles", roles.join(","))
                .detail("force", force.to_string())
        }
        SteeringRequest::SetLimit { limit, .. } => change
            .detail("per_second", limit.per_second.to_string())
            .detail("burst", limit.burst.to_string()),
        SteeringRequest::UnsetFlag { .. } | SteeringRequest::UnsetLimit { .. } => change,
    }
}

/// Whether orders may be placed by stream for this caller, now.
pub(crate) fn may_stream(docket: &Docket, principal: &Principal) -> Result<(), Refusal> {
    let customer = principal.customer.as_ref();
    let subject = Subject {
        id: customer.map_or(principal.account.as_str(), |id| id.as_str()),
        customer,
        role: Some(principal.role),
    };
    if docket
        .steering()
        .in_force()
        .is_on(Flag::StreamingPlacement, &subject)
    {
        return Ok(());
    }
    let message = "placing orders by stream is switched off: place them by PlaceOrder";
    let refusal = Refusal::new(Code::FailedPrecondition, "FEATURE_OFF", message);
    Err(refusal
        .with("flag", "streaming_placement")
        .precondition(flag_name("streaming_placement")))
}

/// Whether a flag is on for a customer, or for callers of a role: of which customer is not said, so that none of its part is.
fn is_on(rule: &FlagRule, flag: &FlagName, customer: Option<&CustomerId>, role: Option<Role>) -> bool {
    match customer {
        Some(customer) => {
            let subject = Subject {
                role,
                ..Subject::customer(customer)
            };
            rule.is_on(flag.as_str(), &subject)
        }
        None => rule.share == Share::ALL || role.is_some_and(|role| rule.roles.contains(&role)),
    }
}

fn shown(state: &Steering, flag: &FlagName) -> v1::FeatureFlag {
    flag_to_proto(flag.as_str(), state.flag(flag.as_str()).map(|entry| &**entry))
}

/// Flags and limits are nobody's: who may use one may use all.
fn permitted<T>(request: &Request<T>) -> Result<CallContext, Refusal> {
    let context = context(request)?;
    allowed(&context, Owner::Nobody, || {
        refusal(SteeringRejection::UnknownFlag.into(), None)
    })?;
    Ok(context)
}

fn no_such_caller(of: &Limited) -> Refusal {
    match of {
        Limited::Account(_) => Refusal::new(Code::NotFound, "ACCOUNT_NOT_FOUND", "there is no such account")
            .resource("docket.v1.Account", of.to_string()),
        Limited::ApiKey(_) => Refusal::new(Code::NotFound, "API_KEY_NOT_FOUND", "there is no such API key")
            .resource("docket.v1.ApiKey", of.to_string()),
    }
}

/// What a rejection, or a failure, answers.
fn refusal(error: SteeringError, about: Option<&About>) -> Refusal {
    let message = error.to_string();
    let about = |refusal: Refusal| match about {
        Some(About::Flag(flag)) => refusal.resource("docket.v1.FeatureFlag", flag_name(flag.as_str())),
        Some(About::Limit(of)) => refusal.resource("docket.v1.CallerLimit", limit_name(of)),
        None => refusal,
    };
    match error {
        SteeringError::Rejected(rejection) => match rejection {
            SteeringRejection::UnknownFlag => {
                let known: Vec<_> = FLAGS.iter().map(|declared| declared.name).collect();
                about(Refusal::new(Code::NotFound, "UNKNOWN_FLAG", message)).with("known", known.join(", "))
            }
            SteeringRejection::StaleEtag => about(Refusal::new(Code::Aborted, "STALE_ETAG", message)),
            SteeringRejection::RoleNotKnown => Refusal::invalid([("rule.roles", message)]),
            SteeringRejection::TooManyCustomers => Refusal::invalid([("rule.customers", message)]),
            SteeringRejection::TooManyFlags => {
                Refusal::new(Code::ResourceExhausted, "TOO_MANY_FLAGS", message)
                    .with("limit", FLAGS_MAX.to_string())
                    .quota("flags")
            }
            SteeringRejection::LimitOutOfRange => Refusal::invalid([("limit", message)]),
            SteeringRejection::TooManyLimits => {
                Refusal::new(Code::ResourceExhausted, "TOO_MANY_LIMITS", message)
                    .with("limit", LIMITS_MAX.to_string())
                    .quota("limits")
            }
        },
        SteeringError::NotLeader => Refusal::new(Code::Unavailable, "META_UNAVAILABLE", message).retry(RETRY),
        SteeringError::LowSpace { free_bytes } => CallError::LowSpace { free_bytes }.into(),
        SteeringError::OlderNodes => CallError::OlderNodes.into(),
        SteeringError::OutcomeUnknown => Refusal::new(
            Code::Unavailable,
            "OUTCOME_UNKNOWN",
            "the outcome is not known: ask for the same again, which changes nothing where it was done",
        ),
        SteeringError::Contended => {
            let message = "nothing was done: try again";
            Refusal::new(Code::Unavailable, "TRY_AGAIN", message).retry(RETRY)
        }
    }
}
