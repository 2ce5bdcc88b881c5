//! Secrets as their owners have them, and signatures, as Standard Webhooks has both (`standard-webhooks`, its specification of 2023).
//!
//! ```text
//!   secret      whsec_ | base64(32 bytes)
//!   signed      webhook-id | "." | webhook-timestamp | "." | body
//!   signature   "v1," | base64(HMAC-SHA-256(secret, signed)), one for each secret, with spaces in between
//! ```

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use docket_engine::webhook::WebhookSecret;

/// What every secret begins with, so that scanners find one that leaked.
const PREFIX: &str = "whsec_";

/// A secret's text. Whoever calls this shows it to nobody but its owner.
pub fn secret_text(secret: &WebhookSecret) -> String {
    format!("{PREFIX}{}", STANDARD.encode(secret.0))
}

/// One signature.
pub fn sign(secret: &[u8], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(id.as_bytes());
    context.update(b".");
    context.update(timestamp_s.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

/// `webhook-signature`: a signature for each secret, in their order.
pub fn signature_header(
    secrets: impl IntoIterator<Item = WebhookSecret>,
    id: &str,
    timestamp_s: i64,
    body: &[u8],
) -> String {
    let signatures = secrets
        .into_iter()
        .map(|secret| sign(&secret.0, id, timestamp_s, body));
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of Standard Webhooks' own libraries (`tests` of its reference implementations).
    #[test]
    fn the_known_vector_is_signed_as_it_is_known() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs_during_an_overlap() {
        let (new, old) = (WebhookSecret([1; 32]), WebhookSecret([2; 32]));
        let header = signature_header([new, old], "a-1", 5, b"{}");
        let expected = [new, old].map(|secret| sign(&secret.0, "a-1", 5, b"{}"));
        assert_eq!(header.split(' ').collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_secret_s_text_is_its_bytes() {
        let text = secret_text(&WebhookSecret([7; 32]));
        let decoded = STANDARD.decode(text.strip_prefix(PREFIX).unwrap()).unwrap();
        assert_eq!(decoded, [7; 32]);
    }
}
