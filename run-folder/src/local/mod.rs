//! A store that is a directory: threads for file work, creating files, reading many of them.

mod create;
mod io;
mod read;

pub(crate) use create::Directory;
pub(crate) use io::Io;
pub(crate) use read::{exist, folders, list, read};
