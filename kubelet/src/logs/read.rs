//! Reading a log for a client: the end of it, from a time on, and onwards as it grows.
//!
//! Plain blocking reads in a thread of their own; the reader goes on to the next file when the log was turned over beneath it.
//! Upstream: staging/src/k8s.io/cri-client/pkg/logs/logs.go.

use super::line;
use jiff::Timestamp;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
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

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(100);
const BLOCK_BYTES: u64 = 8192;

/// Writes what is asked for to `out`, which says by an error that nobody listens any more. `running` tells whether more can come.
pub(crate) fn read(
    path: &Path,
    options: &Options,
    running: &dyn Fn() -> bool,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    if let Some(lines) = options.tail_lines {
        let start = tail_start(&mut file, lines)?;
        file.seek(SeekFrom::Start(start))?;
    }
    let mut inode = file.metadata()?.ino();
    let mut reader = BufReader::new(file);
    let mut record = Vec::new();
    let mut left = options.limit_bytes;
    let mut fresh = true;
    let mut ended = false;
    loop {
        reader.read_until(b'\n', &mut record)?;
        if record.last() == Some(&b'\n') {
            if let Some(line) = line::parse(&record[..record.len() - 1])
                && !emit(&line, options, &mut left, &mut fresh, out)?
            {
                return Ok(());
            }
            record.clear();
            continue;
        }
        if !options.follow || ended {
            return Ok(());
        }
        // One more look after the container ended: what it wrote last is there by then.
        ended = !running();
        if std::fs::metadata(path).is_ok_and(|m| m.ino() != inode) && record.is_empty() {
            let file = File::open(path)?;
            inode = file.metadata()?.ino();
            reader = BufReader::new(file);
        } else if !ended {
            // Nothing to say; an empty write finds out whether anybody still listens.
            out(&[])?;
            std::thread::sleep(POLL);
        }
    }
}

/// False if the limit is reached.
fn emit(
    line: &line::Line,
    options: &Options,
    left: &mut Option<i64>,
    fresh: &mut bool,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<bool> {
    if options.since.is_some_and(|since| line.time < since)
        || options.stderr.is_some_and(|stderr| stderr != line.stderr)
    {
        return Ok(true);
    }
    let mut text = Vec::with_capacity(line.content.len() + 40);
    if options.timestamps && *fresh {
        text.extend_from_slice(line.stamp.as_bytes());
        text.push(b' ');
    }
    text.extend_from_slice(line.content);
    if !line.partial {
        text.push(b'\n');
    }
    *fresh = !line.partial;
    if let Some(left) = left {
        text.truncate(usize::try_from(*left).unwrap_or(0));
        *left -= text.len() as i64;
    }
    out(&text)?;
    Ok(left.is_none_or(|left| left > 0))
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
    let mut all = Vec::new();
    let options = Options { tail_lines: Some(lines as i64), ..Options::default() };
    let mut collect = |bytes: &[u8]| {
        all.extend_from_slice(bytes);
        Ok(())
    };
    match read(path, &options, &|| false, &mut collect) {
        Ok(()) => String::from_utf8_lossy(&all[all.len().saturating_sub(limit_bytes)..]).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => format!("Error on reading termination message from logs: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: Options, expected: &str) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let log = "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n2026-01-01T00:00:03Z stdout P th\n2026-01-01T00:00:03.5Z stdout F ree\n";
        std::fs::write(file.path(), log).expect("written");
        let mut all = Vec::new();
        let mut out = |bytes: &[u8]| {
            all.extend_from_slice(bytes);
            Ok(())
        };
        read(file.path(), &options, &|| false, &mut out).expect("read");
        assert_eq!(String::from_utf8(all).expect("text"), expected, "{options:?}");
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
}
