//! An answer's body that is followed: what is kept until its last byte is sent or its client has gone, and is told of what
//! is sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use negotiation::Body;

/// The body, which drops `kept` at its end and calls `sent` with the bytes of each piece.
pub fn follow<K: Send + Unpin + 'static>(body: Body, kept: K, sent: fn(&K, usize)) -> Body {
    Followed { body, kept, sent }.boxed_unsync()
}

/// The response, which drops `kept`, if there is anything, at its end.
pub fn keep<K: Send + Unpin + 'static>(response: Response<Body>, kept: Option<K>) -> Response<Body> {
    match kept {
        Some(kept) => response.map(|body| follow(body, kept, |_, _| {})),
        None => response,
    }
}

struct Followed<K> {
    body: Body,
    kept: K,
    sent: fn(&K, usize),
}

impl<K: Unpin> http_body::Body for Followed<K> {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            (self.sent)(&self.kept, frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
