//! The tool server's bytes, and a path to run them by.

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The static binary, built with this library.
pub(crate) const BYTES: &[u8] = include_bytes!(env!("OCH_TOOLSERVER"));

/// The tool server as something to run on this machine, for as long as this lives.
#[derive(Debug)]
pub(crate) enum Program {
    /// In memory only: nothing to clean up, and no busy-text race with other starts.
    Memory(File),
    /// In a private temporary folder, where the kernel refuses to run programs from memory.
    Folder(tempfile::TempDir),
}

impl Program {
    pub(crate) fn in_memory() -> io::Result<Self> {
        let mut file = File::from(memfd_create("och-toolserver", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(BYTES)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
        Ok(Self::Memory(file))
    }

    pub(crate) fn in_folder() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("och-toolserver-").tempdir()?;
        let path = folder.path().join("och-toolserver");
        std::fs::write(&path, BYTES)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self::Folder(folder))
    }

    /// Where a process started by this one finds it.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Memory(file) => format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            Self::Folder(folder) => folder.path().join("och-toolserver"),
        }
    }
}
