//! AWS Signature Version 4, as S3 and what is compatible with it ask for it: a request's method, path, query, headers and content, bound to a key, a
//! region and a time.

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::seal::hex;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";

/// Who signs.
pub(crate) struct Signer<'a> {
    pub(crate) access_key: &'a str,
    pub(crate) secret_key: &'a SecretString,
    pub(crate) region: &'a str,
}

/// What is signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// As it is in the request, quoted.
    pub(crate) path: &'a str,
    /// As it is in the request, quoted, in the order of the names.
    pub(crate) query: &'a str,
    /// In the order of their names, which are in lower case.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the content, in hexadecimal digits.
    pub(crate) content: &'a str,
    /// `20130524T000000Z`.
    pub(crate) time: &'a str,
}

impl Signer<'_> {
    /// The value of the header `authorization`.
    pub(crate) fn authorization(&self, signed: &Signed<'_>) -> String {
        let names: Vec<_> = signed.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let headers: String = signed
            .headers
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let Signed {
            method,
            path,
            query,
            content,
            time,
            ..
        } = signed;
        let request = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{content}");
        let day = time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{SERVICE}/aws4_request", self.region);
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256(request.as_bytes()));
        let secret = format!("AWS4{}", self.secret_key.expose_secret());
        let parts = [day, self.region, SERVICE, "aws4_request", &text];
        let signature = parts.iter().fold(secret.into_bytes(), |key, part| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            hmac::sign(&key, part.as_bytes()).as_ref().to_vec()
        });
        format!(
            "{ALGORITHM} Credential={}/{scope},SignedHeaders={names},Signature={}",
            self.access_key,
            hex(&signature)
        )
    }
}

/// In hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first example of Amazon's "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk".
    #[test]
    fn a_signature_is_the_one_of_amazon_s_example() {
        let secret_key = SecretString::from("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let signer = Signer {
            access_key: "AKIAIOSFODNN7EXAMPLE",
            secret_key: &secret_key,
            region: "us-east-1",
        };
        let content = sha256(b"");
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", &content),
            ("x-amz-date", "20130524T000000Z"),
        ];
        let signed = Signed {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &headers,
            content: &content,
            time: "20130524T000000Z",
        };
        assert_eq!(
            signer.authorization(&signed),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }
}
