//! Run machine, leases, actors and the gRPC server.
