//! A container runtime without containers, for tests of whoever speaks CRI.
//!
//! It is a real gRPC server on a Unix socket, not an implementation of the kubelet's own trait: the kubelet's client, with its
//! deadlines, message limits and error codes, belongs to what is tested, and an upstream kubelet can be run on it as well. It
//! is a crate beside `testkit` and depends on the protocol definitions alone, so that the kubelet's tests need not build an
//! API server.
//!
//! Time is tokio's: in a test with paused time a container that runs for an hour has ended as soon as everybody waits. What a
//! test arranges and looks at is the [`World`]: images, programs, faults, the calls that were made.

mod call;
mod image;
mod runtime;
mod world;

pub use call::Rule;
pub use proto::cri;
pub use world::{Container, Exec, Figures, Program, Sandbox, World};

use parking_lot::{Mutex, MutexGuard};
use std::{io, path::Path, path::PathBuf, sync::Arc};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::task::AbortOnDropHandle;

/// The generated server traits.
#[allow(missing_docs, clippy::all, rustdoc::all)]
mod generated {
    tonic::include_proto!("runtime.v1");
}

type Shared = Arc<Mutex<World>>;

/// A runtime that is being served; it is gone when this is dropped.
pub struct FakeRuntime {
    socket: PathBuf,
    world: Shared,
    _server: AbortOnDropHandle<()>,
}

impl FakeRuntime {
    /// Serves on a new socket. `now_ns` is the time of day, in nanoseconds since 1970, that containers are stamped with.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(socket: &Path, now_ns: impl Fn() -> i64 + Send + Sync + 'static) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let world: Shared = Arc::new(Mutex::new(World::new(Arc::new(now_ns))));
        let server = tonic::transport::Server::builder()
            .add_service(generated::runtime_service_server::RuntimeServiceServer::new(runtime::Service(world.clone())))
            .add_service(generated::image_service_server::ImageServiceServer::new(image::Service(world.clone())))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = AbortOnDropHandle::new(tokio::spawn(async move {
            // It ends with the test; a failure shows as calls that fail.
            let _ = server.await;
        }));
        Ok(Self { socket: socket.to_owned(), world, _server: server })
    }

    /// As a kubelet is told it: `unix:///path`.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Everything about it, to arrange and to look at. No call is answered while this is held.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock();
        world.settle();
        world
    }
}

#[cfg(test)]
mod tests;
