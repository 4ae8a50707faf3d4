//! Stream protocols of exec, attach and port-forward: SPDY/3.1, WebSocket channels, and their translation.
