//! `/logs/`: the node's log files, to read and nothing else. Upstream serves `/var/log` with Go's file server, whose listings,
//! redirects and ranges are kept.
//!
//! One thing is not: a link that leads out of the log folders is not followed. A pod that may write below `/var/log` could
//! otherwise have the kubelet, which is root, read any file of the node to whoever may read its logs.

use super::refuse;
use crate::node_agent::Agent;
use axum::{
    Router,
    body::Body,
    extract::{Path as Captured, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use component::supervisor;
use jiff::Timestamp;
use std::{
    fmt::Write,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// What is looked at to tell text from other content.
const SNIFFED_BYTES: u64 = 512;

pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/logs/", get(top)).route("/logs/{*path}", get(below))
}

async fn top(state: State<Arc<Agent>>, headers: HeaderMap) -> Response {
    below(state, Captured(String::new()), headers).await
}

async fn below(State(agent): State<Arc<Agent>>, Captured(path): Captured<String>, headers: HeaderMap) -> Response {
    let range = headers.get(header::RANGE).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let roots = [agent.config.node_log_dir.clone(), PathBuf::from(&agent.config.file.pod_logs_dir)];
    let work = move || answer(&roots, &path, range.as_deref());
    match supervisor::blocking("log of the node", work).await {
        Ok(Ok(answer)) => answer.into_response(),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            refuse(StatusCode::FORBIDDEN, "403 Forbidden")
        }
        Ok(Err(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            refuse(StatusCode::NOT_FOUND, "404 page not found")
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot read a log of the node");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error")
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error"),
    }
}

enum Answer {
    Listing(String),
    /// A folder is asked for with a slash at its end.
    Redirect(String),
    /// The file, at the first byte to send.
    Content {
        file: File,
        kind: &'static str,
        modified: Option<Timestamp>,
        part: Part,
    },
    NoSuchRange {
        length: u64,
    },
}

/// Bytes of a file; all of them unless a range was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    start: u64,
    end: u64,
    length: u64,
    whole: bool,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Listing(html) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
            Self::Redirect(to) => (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to)]).into_response(),
            Self::NoSuchRange { length } => {
                let range = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
                (StatusCode::RANGE_NOT_SATISFIABLE, range, "invalid range: failed to overlap\n").into_response()
            }
            Self::Content { file, kind, modified, part } => {
                let count = part.end - part.start;
                let mut headers = vec![
                    (header::CONTENT_TYPE, kind.to_owned()),
                    (header::CONTENT_LENGTH, count.to_string()),
                    (header::ACCEPT_RANGES, "bytes".to_owned()),
                ];
                if let Some(at) = modified {
                    headers.push((header::LAST_MODIFIED, at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()));
                }
                let status = if part.whole {
                    StatusCode::OK
                } else {
                    let range = format!("bytes {}-{}/{}", part.start, part.end - 1, part.length);
                    headers.push((header::CONTENT_RANGE, range));
                    StatusCode::PARTIAL_CONTENT
                };
                let body = Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file).take(count)));
                let mut response = (status, body).into_response();
                for (name, value) in headers {
                    if let Ok(value) = value.parse() {
                        response.headers_mut().insert(name, value);
                    }
                }
                response
            }
        }
    }
}

/// `roots`: the folder that is served, and others that its links may lead to.
fn answer(roots: &[PathBuf], path: &str, range: Option<&str>) -> io::Result<Answer> {
    let clean = clean(path);
    // Not waited for: a pipe that nobody writes to would never open.
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    let mut file = options.open(roots[0].join(&clean))?;
    let opened = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if !roots.iter().filter_map(|root| root.canonicalize().ok()).any(|root| opened.starts_with(root)) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let meta = file.metadata()?;
    if meta.is_dir() {
        if !path.is_empty() && !path.ends_with('/') {
            let name = clean.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Answer::Redirect(format!("{}/", escaped(&name))));
        }
        return Ok(Answer::Listing(listing(&opened)?));
    }
    if !meta.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let length = meta.len();
    let Some(part) = part(range, length) else { return Ok(Answer::NoSuchRange { length }) };
    let mut head = Vec::new();
    (&mut file).take(SNIFFED_BYTES).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(part.start))?;
    let modified = meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
    Ok(Answer::Content { file, kind: kind(&head), modified, part })
}

/// Without `.`, `..` and doubled slashes; it cannot lead above where it begins.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(clean.pop()),
            name => clean.push(name),
        }
    }
    clean
}

fn listing(folder: &Path) -> io::Result<String> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let slash = if entry.file_type().is_ok_and(|t| t.is_dir()) { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let mut html = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n".to_owned();
    for name in names {
        let _ = writeln!(html, "<a href=\"{}\">{}</a>", escaped(&name), as_text(&name));
    }
    html.push_str("</pre>\n");
    Ok(html)
}

/// A name as text of a page.
fn as_text(name: &str) -> String {
    let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    name.replace('"', "&#34;").replace('\'', "&#39;")
}

/// A name as part of an address.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'~'
            | b'/'
            | b'$'
            | b'&'
            | b'+'
            | b'='
            | b'@' => {
                out.push(char::from(byte));
            }
            other => drop(write!(out, "%{other:02X}")),
        }
    }
    out
}

fn kind(head: &[u8]) -> &'static str {
    let binary = |b: &u8| matches!(b, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    match head {
        [0x1f, 0x8b, 8, ..] => "application/x-gzip",
        _ if head.iter().any(binary) => "application/octet-stream",
        _ => "text/plain; charset=utf-8",
    }
}

/// One range is honoured; several, or what is no range, give all. `None`: it lies past the end.
fn part(range: Option<&str>, length: u64) -> Option<Part> {
    let whole = Some(Part { start: 0, end: length, length, whole: true });
    let Some((first, last)) = range.and_then(|r| r.strip_prefix("bytes=")?.trim().split_once('-')) else {
        return whole;
    };
    let (start, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, length.min(last.saturating_add(1))),
        (Ok(first), Err(_)) if last.trim().is_empty() => (first, length),
        (Err(_), Ok(last)) if first.trim().is_empty() => (length.saturating_sub(last), length),
        _ => return whole,
    };
    (start < length).then_some(Part { start, end, length, whole: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn shown(roots: &[PathBuf], path: &str, range: Option<&str>) -> String {
        match answer(roots, path, range) {
            Err(error) => format!("{:?}", error.kind()),
            Ok(Answer::Listing(html)) => html.lines().filter(|l| l.starts_with("<a ")).collect::<Vec<_>>().join(" "),
            Ok(Answer::Redirect(to)) => format!("to {to}"),
            Ok(Answer::NoSuchRange { length }) => format!("not within {length}"),
            Ok(Answer::Content { mut file, kind, part, .. }) => {
                let mut text = vec![0; (part.end - part.start) as usize];
                file.read_exact(&mut text).expect("read");
                format!("{kind}: {}", String::from_utf8_lossy(&text))
            }
        }
    }

    #[test]
    fn files_folders_ranges_and_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("log");
        let pods = folder.path().join("pods");
        fs::create_dir_all(root.join("apt")).expect("made");
        fs::create_dir_all(&pods).expect("made");
        fs::write(root.join("messages"), "0123456789").expect("written");
        fs::write(root.join("a&b.gz"), [0x1f, 0x8b, 8, 0]).expect("written");
        fs::write(root.join("journal"), [b'L', 0, 1]).expect("written");
        fs::write(pods.join("0.log"), "pod").expect("written");
        fs::write(folder.path().join("shadow"), "secret").expect("written");
        symlink(pods.join("0.log"), root.join("apt/pod.log")).expect("linked");
        symlink(folder.path().join("shadow"), root.join("apt/out")).expect("linked");
        let roots = [root, pods];
        let text: String = [
            ("", None),
            ("apt", None),
            ("apt/", None),
            ("messages", None),
            ("/./apt/../messages", None),
            ("messages", Some("bytes=2-4")),
            ("messages", Some("bytes=7-")),
            ("messages", Some("bytes=-3")),
            ("messages", Some("bytes=10-")),
            ("messages", Some("bytes=0-1,3-4")),
            ("journal", Some("bytes=0-0")),
            ("apt/pod.log", None),
            ("apt/out", None),
            ("../shadow", None),
            ("nothing", None),
        ]
        .iter()
        .map(|(path, range)| format!("{path} {}: {}\n", range.unwrap_or_default(), shown(&roots, path, *range)))
        .collect();
        expect_test::expect![[r#"
             : <a href="a&b.gz">a&amp;b.gz</a> <a href="apt/">apt/</a> <a href="journal">journal</a> <a href="messages">messages</a>
            apt : to apt/
            apt/ : <a href="out">out</a> <a href="pod.log">pod.log</a>
            messages : text/plain; charset=utf-8: 0123456789
            /./apt/../messages : text/plain; charset=utf-8: 0123456789
            messages bytes=2-4: text/plain; charset=utf-8: 234
            messages bytes=7-: text/plain; charset=utf-8: 789
            messages bytes=-3: text/plain; charset=utf-8: 789
            messages bytes=10-: not within 10
            messages bytes=0-1,3-4: text/plain; charset=utf-8: 0123456789
            journal bytes=0-0: application/octet-stream: L
            apt/pod.log : text/plain; charset=utf-8: pod
            apt/out : PermissionDenied
            ../shadow : NotFound
            nothing : NotFound
        "#]]
        .assert_eq(&text);
    }
}
