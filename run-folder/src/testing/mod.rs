//! For tests of this crate and of others.
