//! The words of a program: its streams, read line by line and capped.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

/// Bytes that are kept of a stream.
const OUTPUT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Longest line that is heard, in bytes: those about resources have some hundred.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// What a program said and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub code: i32,
    /// What it said in JSON, a value for each line.
    pub lines: Vec<Value>,
    /// Everything it said otherwise.
    pub text: String,
    /// It said something that is longer than anybody hears.
    pub is_cut: bool,
}

/// What a program says, line by line.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    buffer: Vec<u8>,
    is_too_long: bool,
}

/// A line that was said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Whole(String),
    TooLong,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), buffer: Vec::new(), is_too_long: false }
    }

    /// Returns the next line; whoever stops waiting for it in between loses nothing.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.buffer.len());
            let read = (&mut self.reader).take(room as u64).read_until(b'\n', &mut self.buffer).await?;
            let ends = self.buffer.last() == Some(&b'\n');
            if read == 0 && self.buffer.is_empty() && !self.is_too_long {
                return Ok(None);
            }
            if ends || read == 0 {
                let line = std::mem::take(&mut self.buffer);
                if std::mem::take(&mut self.is_too_long) {
                    return Ok(Some(Line::TooLong));
                }
                return Ok(Some(Line::Whole(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned())));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                self.is_too_long = true;
                self.buffer.clear();
            }
        }
    }
}

impl Ran {
    /// Takes in a line that was said; of very many, only the first are kept.
    pub(crate) fn take(&mut self, line: &str, heard: &mut u64, hear: &mut (dyn FnMut(&Value) + Send)) {
        *heard += line.len() as u64;
        let is_kept = *heard <= OUTPUT_BYTES_MAX;
        match serde_json::from_str::<Value>(line) {
            Ok(value) => {
                hear(&value);
                if is_kept {
                    self.lines.push(value);
                }
            }
            Err(_) if is_kept => {
                self.text.push_str(line);
                self.text.push('\n');
            }
            Err(_) => {}
        }
    }
}

/// Reads a stream to its end, and keeps its beginning.
pub(crate) async fn drained(stream: impl AsyncRead + Unpin) -> String {
    let mut reader = BufReader::new(stream);
    let mut kept = Vec::new();
    let _ = (&mut reader).take(OUTPUT_BYTES_MAX).read_to_end(&mut kept).await;
    // A program whose stream is closed would be ended by its next word.
    let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(text: &[u8]) -> Vec<Line> {
        let mut lines = Lines::new(text);
        let mut out = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            out.push(line);
        }
        out
    }

    #[tokio::test]
    async fn lines_have_an_end() {
        let whole = |text: &str| Line::Whole(text.to_owned());
        assert_eq!(said(b"").await, []);
        assert_eq!(said(b"a\r\n\nb").await, [whole("a"), whole(""), whole("b")]);
        let longest = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(said(format!("{longest}\nb\n").as_bytes()).await, [whole(&longest), whole("b")]);
        for length in [LINE_BYTES_MAX + 1, 3 * LINE_BYTES_MAX + 2] {
            let long = "x".repeat(length);
            assert_eq!(said(format!("a\n{long}\nb\n").as_bytes()).await, [whole("a"), Line::TooLong, whole("b")], "{length}");
            assert_eq!(said(long.as_bytes()).await, [Line::TooLong], "{length}, and no end");
        }
        assert_eq!(said(b"\xff\n").await, [whole("\u{fffd}")]);
    }
}
