//! What is said of a piece of a backup where it is printed: never what is in it, since keys and secrets are.

use std::fmt;

use crate::v1::{ReadBackupResponse, read_backup_response::Piece};

impl fmt::Debug for ReadBackupResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.piece {
            None => f.write_str("ReadBackupResponse"),
            Some(Piece::Head(head)) => fmt::Debug::fmt(head, f),
            Some(Piece::Data(data)) => write!(f, "{} bytes", data.len()),
            Some(Piece::End(end)) => fmt::Debug::fmt(end, f),
            Some(Piece::Entries(entries)) => {
                write!(f, "entries {} to {}", entries.from_index, entries.before_index)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_piece_is_not_printed() {
        let piece = Some(Piece::Data(b"secret".to_vec()));
        assert_eq!(format!("{:?}", ReadBackupResponse { piece }), "6 bytes");
    }
}
