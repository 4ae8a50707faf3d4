//! Stream protocols of exec, attach and port-forward: SPDY/3.1, WebSocket channels, and their translation.
//!
//! Clients come over WebSocket or SPDY; container runtimes of containerd 1.6's age and upstream's kubelet answer in
//! SPDY. This crate knows the wires and nothing of Kubernetes' objects, of authentication or of routing: the API
//! server and the kubelet decide who may connect to what, and hand over byte streams.
//!
//! * [`spdy`]: frames and connections, both sides.
//! * [`websocket`]: the opening handshake and the channel subprotocols.
//! * [`reader`]: one stream to a WebSocket client that only reads.
//! * [`translate`]: a WebSocket client's exec or attach to a SPDY server (upstream's StreamTranslator).
//! * [`tunnel`]: SPDY inside WebSocket messages (port-forward of kubectl 1.31 and later).
//! * [`dial`]: the HTTP/1.1 upgrade towards a kubelet or a runtime.
//! * [`copy`]: what is left once both sides speak the same protocol.

pub mod copy;
pub mod dial;
pub mod reader;
pub mod spdy;
pub mod translate;
pub mod tunnel;
pub mod websocket;

pub use copy::proxy_upgraded;
pub use translate::translate_exec;
pub use tunnel::tunnel;
