//! Who is logged in to the console: kept in this process alone, so that a restart logs everybody out.
//!
//! A session is a random token that only the browser has, and the id of the API key that it was made with. The key itself is not kept: whether it
//! still holds, and for what, is looked up in the committed state with each request, so that no session outlives its key.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use docket_engine::access::ApiKeyId;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// So many at a time; with one more, the one that was used least recently is over.
pub(super) const SESSIONS_MAX: usize = 64;
/// A session ends when it was not used for so long.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// And this long after its login in any case.
pub(super) const AGE_MAX: Duration = Duration::from_secs(8 * 60 * 60);
/// Bytes of a token.
const TOKEN_BYTES: usize = 32;

/// The sessions, by the SHA-256 of their tokens.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

struct Session {
    key: ApiKeyId,
    began: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= AGE_MAX
            || now.saturating_duration_since(self.used) >= IDLE_MAX
    }
}

impl Sessions {
    /// Begins one; returns its token, in hexadecimal.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub(super) fn begin(&self, key: ApiKeyId, now: Instant) -> Result<String, getrandom::Error> {
        let mut token = [0; TOKEN_BYTES];
        getrandom::fill(&mut token)?;
        let text: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut sessions = self.0.lock();
        sessions.retain(|_, session| !session.is_over(now));
        while sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used);
            let Some(oldest) = oldest.map(|(digest, _)| *digest) else {
                break;
            };
            sessions.remove(&oldest);
        }
        let session = Session {
            key,
            began: now,
            used: now,
        };
        sessions.insert(digest(&text), session);
        Ok(text)
    }

    /// The key that the session of this token was made with, and how long the session lasts at most.
    pub(super) fn find(&self, token: &str, now: Instant) -> Option<(ApiKeyId, Duration)> {
        if token.len() != 2 * TOKEN_BYTES {
            return None;
        }
        let mut sessions = self.0.lock();
        let digest = digest(token);
        let session = sessions.get_mut(&digest)?;
        if session.is_over(now) {
            sessions.remove(&digest);
            return None;
        }
        session.used = now;
        let left = AGE_MAX.saturating_sub(now.saturating_duration_since(session.began));
        Some((session.key, left))
    }

    /// Ends the session of this token.
    pub(super) fn end(&self, token: &str) {
        self.0.lock().remove(&digest(token));
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ApiKeyId = ApiKeyId([1; 12]);

    fn find(sessions: &Sessions, token: &str, now: Instant) -> Option<ApiKeyId> {
        sessions.find(token, now).map(|(key, _)| key)
    }

    #[test]
    fn a_session_lasts_while_it_is_used_and_no_longer_than_a_day_of_work() {
        let (sessions, begin) = (Sessions::default(), Instant::now());
        let token = sessions.begin(KEY, begin).unwrap();
        let almost = IDLE_MAX - Duration::from_secs(1);
        let mut now = begin;
        while now + almost < begin + AGE_MAX {
            now += almost;
            assert_eq!(find(&sessions, &token, now), Some(KEY));
        }
        assert_eq!(find(&sessions, &token, begin + AGE_MAX), None, "it was in use");
        assert!(sessions.0.lock().is_empty(), "what is over is not kept");

        let token = sessions.begin(KEY, begin).unwrap();
        assert_eq!(find(&sessions, &token, begin + IDLE_MAX), None);
    }

    #[test]
    fn a_token_is_good_until_it_is_given_back_and_no_other_is() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let token = sessions.begin(KEY, now).unwrap();
        let mut wrong = token.clone();
        wrong.replace_range(0..1, if token.starts_with('0') { "1" } else { "0" });
        for other in ["", "x", &wrong, &token[1..], &format!("{token}0")] {
            assert_eq!(find(&sessions, other, now), None, "{other}");
        }
        assert_eq!(find(&sessions, &token, now), Some(KEY));
        sessions.end(&token);
        assert_eq!(find(&sessions, &token, now), None);
    }

    #[test]
    fn there_are_so_many_and_the_one_used_least_recently_makes_room() {
        let (sessions, begin) = (Sessions::default(), Instant::now());
        let at = |n: usize| begin + Duration::from_secs(n as u64);
        let tokens: Vec<_> = (0..SESSIONS_MAX)
            .map(|n| sessions.begin(KEY, at(n)).unwrap())
            .collect();
        // The first is used again: now the second is the oldest.
        assert!(find(&sessions, &tokens[0], at(SESSIONS_MAX)).is_some());
        sessions.begin(KEY, at(SESSIONS_MAX)).unwrap();
        assert_eq!(sessions.0.lock().len(), SESSIONS_MAX);
        assert!(find(&sessions, &tokens[0], at(SESSIONS_MAX)).is_some());
        assert!(find(&sessions, &tokens[1], at(SESSIONS_MAX)).is_none());
    }
}
