//! Answers over HTTP/1.1, as far as attackers look at them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// Why it is a refusal, where it says that; else its status.
    pub fn told(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        let details = json["details"].as_array().into_iter().flatten();
        let reason = details.filter_map(|detail| detail["reason"].as_str()).next();
        match reason {
            Some(reason) => reason.to_owned(),
            None => format!("HTTP {}", self.status),
        }
    }
}

/// The next answer, with its body; none where there is none.
pub async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Answer>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = whole(&bytes) {
            return Ok(Some(answer));
        }
        if bytes.len() > ANSWER_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// The answer, where all of it is there.
fn whole(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    let body = bytes.get(end + 4..end + 4 + length)?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        body: String::from_utf8_lossy(body).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_and_says_why() {
        let body = r#"{"code":3,"details":[{"@type":"x"},{"reason":"MESSAGE_TOO_LARGE"}]}"#;
        let text = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = answer(&mut text.as_bytes()).await.unwrap().unwrap();
        assert_eq!(
            (answer.status, answer.told().as_str()),
            (400, "MESSAGE_TOO_LARGE")
        );
        let half = &text.as_bytes()[..text.len() - 1];
        assert!(super::answer(&mut &half[..]).await.unwrap().is_none());
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let bare = super::answer(&mut bare.as_bytes()).await.unwrap().unwrap();
        assert_eq!(bare.told(), "HTTP 431");
    }
}
