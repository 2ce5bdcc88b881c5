//! The last lines that were logged, kept in memory beside stderr: for whoever takes a debug bundle of a node whose log is elsewhere, or gone.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// What is kept of a line, in bytes; the end of a longer one is left out.
const LINE_BYTES_MAX: usize = 4 * 1_024;
/// What stands where a line's end was left out.
const CUT: &str = "…";

/// So many of the newest lines.
pub struct Kept {
    lines_max: AtomicU32,
    lines: Mutex<VecDeque<String>>,
}

impl Kept {
    pub fn new(lines_max: u32) -> Self {
        Self {
            lines_max: AtomicU32::new(lines_max),
            lines: Mutex::default(),
        }
    }

    /// Keeps so many from now on.
    pub fn set_lines_max(&self, lines_max: u32) {
        self.lines_max.store(lines_max, Relaxed);
        let mut lines = self.lines.lock();
        while lines.len() > lines_max as usize {
            lines.pop_front();
        }
        lines.shrink_to_fit();
    }

    /// The lines, the oldest first, without colours.
    pub fn text(&self) -> String {
        let lines: Vec<String> = self.lines.lock().iter().cloned().collect();
        let mut text = String::new();
        for line in &lines {
            plain(line, &mut text);
            text.push('\n');
        }
        text
    }

    fn keep(&self, bytes: &[u8]) {
        let lines_max = self.lines_max.load(Relaxed) as usize;
        let bytes = bytes.trim_ascii_end();
        if bytes.is_empty() || lines_max == 0 {
            return;
        }
        let shown = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
        let mut lines = self.lines.lock();
        // What goes makes room, in every sense.
        let mut line = match lines.len() < lines_max {
            true => String::new(),
            false => lines.pop_front().unwrap_or_default(),
        };
        line.clear();
        line.push_str(&String::from_utf8_lossy(shown));
        if shown.len() < bytes.len() {
            line.push_str(CUT);
        }
        lines.push_back(line);
    }
}

/// Leaves out what sets colours: the escape, and all up to the letter that ends it.
fn plain(line: &str, text: &mut String) {
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("\x1b[") {
        text.push_str(before);
        rest = behind
            .split_once(|c: char| c.is_ascii_alphabetic())
            .map_or("", |it| it.1);
    }
    text.push_str(rest);
}

/// Writes to stderr, and keeps what was written.
#[derive(Clone)]
pub struct Both(pub Arc<Kept>);

impl<'a> MakeWriter<'a> for Both {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stderr().write(bytes)?;
        self.0.keep(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    /// A line, whole: it is kept also where it cannot be written.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.keep(bytes);
        io::stderr().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_no_more_than_may_be() {
        let kept = Kept::new(3);
        for n in 0..10 {
            kept.keep(format!("line {n}\n").as_bytes());
        }
        // As where a line is left out for being one too many of its kind.
        kept.keep(b"");
        assert_eq!(kept.text(), "line 7\nline 8\nline 9\n");
        kept.set_lines_max(1);
        assert_eq!(kept.text(), "line 9\n");
        kept.set_lines_max(2);
        kept.keep(b"line 10\n");
        assert_eq!(kept.text(), "line 9\nline 10\n");
        kept.set_lines_max(0);
        kept.keep(b"line 11\n");
        assert_eq!(kept.text(), "");
    }

    #[test]
    fn a_long_line_is_cut_and_colours_are_left_out() {
        let kept = Kept::new(2);
        let long = "é".repeat(LINE_BYTES_MAX);
        kept.keep(long.as_bytes());
        let text = kept.text();
        assert!(text.ends_with("é…\n"), "{}", text.len());
        assert!(text.len() <= LINE_BYTES_MAX + CUT.len() + "\n".len());
        kept.keep(b"\x1b[2m2026\x1b[0m \x1b[32m INFO\x1b[0m ready\n");
        assert!(kept.text().ends_with("\n2026  INFO ready\n"));
        let mut cut_off = String::new();
        plain("a\x1b[3", &mut cut_off);
        assert_eq!(cut_off, "a");
    }
}
