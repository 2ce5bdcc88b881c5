//! What callers have taken out of their buckets at one node, as the others are told.

use bytes::Bytes;
use docket_engine::access::{ApiKeyId, Role, Username};
use prost::Message;

use super::{BadCall, VERSION, known, malformed};
use crate::peer::{self as pb, consumption::By};

/// Callers in one message at most.
pub const CONSUMERS_MAX: usize = 512;

/// Whose bucket it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TakenBy {
    /// An account's, which has this role.
    Account(Username, Role),
    /// An API key's, which has a limit of its own.
    ApiKey(ApiKeyId),
}

/// What one caller has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Who.
    pub by: TakenBy,
    /// How much.
    pub tokens: u32,
}

/// What callers have taken at a node since it told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// Another with every start of the node.
    pub run: u64,
    /// Rises from message to message of one run.
    pub number: u64,
    /// At most [`CONSUMERS_MAX`].
    pub taken: Vec<Taken>,
}

impl Consumption {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let taken = self.taken.iter().map(|taken| pb::Consumption {
            by: Some(match &taken.by {
                TakenBy::Account(name, role) => By::Account(pb::ConsumptionOfAccount {
                    name: name.to_string(),
                    role: role.as_str().to_owned(),
                }),
                TakenBy::ApiKey(key) => By::ApiKey(Bytes::copy_from_slice(&key.0)),
            }),
            tokens: taken.tokens,
        });
        let request = pb::ConsumptionRequest {
            version: VERSION,
            run: self.run,
            number: self.number,
            taken: taken.collect(),
        };
        request.encode_to_vec().into()
    }

    /// The message in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        let request = pb::ConsumptionRequest::decode(body).map_err(malformed)?;
        known(request.version)?;
        if request.taken.len() > CONSUMERS_MAX {
            return Err(BadCall::Field("number of callers"));
        }
        let taken = request.taken.into_iter().map(|taken| {
            let by = match taken.by.ok_or(BadCall::Field("caller"))? {
                By::Account(account) => {
                    let name = Username::new(&account.name).map_err(|_| BadCall::Field("account"))?;
                    let role = Role::ALL.into_iter().find(|role| role.as_str() == account.role);
                    TakenBy::Account(name, role.ok_or(BadCall::Field("role"))?)
                }
                By::ApiKey(key) => {
                    let key = <[u8; 12]>::try_from(&key[..]);
                    TakenBy::ApiKey(ApiKeyId(key.map_err(|_| BadCall::Field("api_key"))?))
                }
            };
            Ok(Taken {
                by,
                tokens: taken.tokens,
            })
        });
        Ok(Self {
            run: request.run,
            number: request.number,
            taken: taken.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_arrives_as_it_was_told() {
        let account = TakenBy::Account(Username::new("shop").unwrap(), Role::Service);
        let key = TakenBy::ApiKey(ApiKeyId([7; 12]));
        let taken = |by: &TakenBy, tokens| Taken {
            by: by.clone(),
            tokens,
        };
        for taken in [
            Vec::new(),
            vec![taken(&account, 1), taken(&key, u32::MAX)],
            vec![taken(&key, 3); CONSUMERS_MAX],
        ] {
            let told = Consumption {
                run: u64::MAX,
                number: 9,
                taken,
            };
            assert_eq!(Consumption::decode(told.encode()), Ok(told));
        }
    }

    #[test]
    fn what_is_not_understood_is_taken_from_nobody() {
        let whole = pb::ConsumptionRequest {
            version: VERSION,
            run: 1,
            number: 1,
            taken: vec![pb::Consumption {
                by: Some(By::Account(pb::ConsumptionOfAccount {
                    name: "shop".into(),
                    role: "service".into(),
                })),
                tokens: 1,
            }],
        };
        let decode = |request: &pb::ConsumptionRequest| Consumption::decode(request.encode_to_vec().into());
        assert!(decode(&whole).is_ok());
        let mut newer = whole.clone();
        newer.version += 1;
        assert_eq!(decode(&newer), Err(BadCall::Version(VERSION + 1)));
        let mut many = whole.clone();
        many.taken = vec![whole.taken[0].clone(); CONSUMERS_MAX + 1];
        assert_eq!(decode(&many), Err(BadCall::Field("number of callers")));
        for by in [
            None,
            Some(By::ApiKey(Bytes::from_static(&[1; 11]))),
            Some(By::Account(pb::ConsumptionOfAccount {
                name: "shop".into(),
                role: "king".into(),
            })),
        ] {
            let mut bad = whole.clone();
            bad.taken[0].by = by;
            assert!(matches!(decode(&bad), Err(BadCall::Field(_))));
        }
    }
}
