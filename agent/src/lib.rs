//! The agent loop as a pure machine; tools, permissions, context; no I/O.
