//! Reading a log for a client: the end of it, from a time on, and onwards as it grows.
//!
//! A [`Reader`] makes plain blocking reads, a bounded amount at a time, and remembers where it is; who waits for a log to grow
//! holds no thread meanwhile (see `follow`). It goes on to the next file when the log was turned over beneath it.
//! Upstream: staging/src/k8s.io/cri-client/pkg/logs/logs.go.

use super::line;
use jiff::Timestamp;
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) follow: bool,
    pub(crate) tail_lines: Option<i64>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) timestamps: bool,
    pub(crate) limit_bytes: Option<i64>,
    /// `Some(true)`: standard error alone.
    pub(crate) stderr: Option<bool>,
}

const BLOCK_BYTES: u64 = 8192;
/// What one call reads at most, about.
const PORTION_BYTES: usize = 64 << 10;

/// What a call has found after the bytes that it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is more.
    More,
    /// Nothing for now.
    End,
    /// The client has all that it asked for.
    Enough,
}

pub(crate) struct Reader {
    path: PathBuf,
    options: Options,
    file: BufReader<File>,
    inode: u64,
    /// A line of which the end is not there yet.
    record: Vec<u8>,
    left: Option<i64>,
    /// At the beginning of a line.
    fresh: bool,
}

impl Reader {
    pub(crate) fn open(path: &Path, options: Options) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if let Some(lines) = options.tail_lines {
            let start = tail_start(&mut file, lines)?;
            file.seek(SeekFrom::Start(start))?;
        }
        let inode = file.metadata()?.ino();
        let left = options.limit_bytes;
        let (path, file) = (path.to_owned(), BufReader::new(file));
        Ok(Self { path, options, file, inode, record: Vec::new(), left, fresh: true })
    }

    /// Reads on.
    pub(crate) fn read(&mut self) -> io::Result<(Vec<u8>, Next)> {
        let mut out = Vec::new();
        while out.len() < PORTION_BYTES {
            self.file.read_until(b'\n', &mut self.record)?;
            if self.record.last() == Some(&b'\n') {
                let record = std::mem::take(&mut self.record);
                if let Some(line) = line::parse(&record[..record.len() - 1])
                    && !self.emit(&line, &mut out)
                {
                    return Ok((out, Next::Enough));
                }
                continue;
            }
            if !self.options.follow || !self.turned_over()? {
                return Ok((out, Next::End));
            }
        }
        Ok((out, Next::More))
    }

    /// True if another file has the log's name, which is then read from its beginning.
    fn turned_over(&mut self) -> io::Result<bool> {
        if !self.record.is_empty() || !fs::metadata(&self.path).is_ok_and(|m| m.ino() != self.inode) {
            return Ok(false);
        }
        let file = File::open(&self.path)?;
        self.inode = file.metadata()?.ino();
        self.file = BufReader::new(file);
        Ok(true)
    }

    /// False if the limit is reached.
    fn emit(&mut self, line: &line::Line, out: &mut Vec<u8>) -> bool {
        let options = &self.options;
        if options.since.is_some_and(|since| line.time < since)
            || options.stderr.is_some_and(|stderr| stderr != line.stderr)
        {
            return true;
        }
        let begin = out.len();
        if options.timestamps && self.fresh {
            out.extend_from_slice(line.stamp.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.content);
        if !line.partial {
            out.push(b'\n');
        }
        self.fresh = !line.partial;
        if let Some(left) = &mut self.left {
            out.truncate(begin.saturating_add(usize::try_from(*left).unwrap_or(0)));
            *left -= (out.len() - begin) as i64;
        }
        self.left.is_none_or(|left| left > 0)
    }
}

/// Where the last `lines` lines begin.
fn tail_start(file: &mut File, lines: i64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if lines <= 0 {
        return Ok(length);
    }
    let mut left = lines;
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        block.resize((end - start) as usize, 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (offset, byte) in block.iter().enumerate().rev() {
            let at = start + offset as u64;
            // The newline at the very end closes the last line and begins none.
            if *byte == b'\n' && at + 1 != length {
                left -= 1;
                if left == 0 {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// The end of a log as one text, for a container's termination message.
pub(crate) fn last_lines(path: &Path, lines: usize, limit_bytes: usize) -> String {
    let options = Options { tail_lines: Some(lines as i64), ..Options::default() };
    match all(path, options) {
        Ok(all) => String::from_utf8_lossy(&all[all.len().saturating_sub(limit_bytes)..]).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => format!("Error on reading termination message from logs: {error}"),
    }
}

fn all(path: &Path, options: Options) -> io::Result<Vec<u8>> {
    let mut reader = Reader::open(path, options)?;
    let mut all = Vec::new();
    loop {
        let (bytes, next) = reader.read()?;
        all.extend(bytes);
        if next != Next::More {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: Options, expected: &str) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let log = "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n2026-01-01T00:00:03Z stdout P th\n2026-01-01T00:00:03.5Z stdout F ree\n";
        fs::write(file.path(), log).expect("written");
        let text = all(file.path(), options.clone()).expect("read");
        assert_eq!(String::from_utf8(text).expect("text"), expected, "{options:?}");
    }

    #[test]
    fn what_was_asked_for() {
        check(Options::default(), "one\ntwo\nthree\n");
        check(Options { tail_lines: Some(2), ..Default::default() }, "three\n");
        check(Options { tail_lines: Some(0), ..Default::default() }, "");
        check(Options { tail_lines: Some(99), limit_bytes: Some(5), ..Default::default() }, "one\nt");
        check(
            Options { since: Some("2026-01-01T00:00:02Z".parse().expect("a time")), ..Default::default() },
            "two\nthree\n",
        );
        check(
            Options { timestamps: true, tail_lines: Some(3), ..Default::default() },
            "2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n",
        );
        check(Options { follow: true, stderr: Some(true), ..Default::default() }, "two\n");
    }

    #[test]
    fn a_large_log_comes_in_portions() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "2026-01-01T00:00:01Z stdout F 0123456789\n".repeat(20_000)).expect("written");
        let mut reader = Reader::open(file.path(), Options::default()).expect("opened");
        let (bytes, next) = reader.read().expect("read");
        assert!(bytes.len() < PORTION_BYTES + 100 && next == Next::More, "{} {next:?}", bytes.len());
        assert_eq!(all(file.path(), Options::default()).expect("read").len(), 20_000 * 11);
    }
}
