//! Tokens and addresses of a coordinator.

use crate::env_vars;
use crate::exit::Expected;
use anyhow::Result;
use domain::secret::Secret;
use std::path::{Path, PathBuf};

/// Reads the shared token from the named file, else from the file that `OCH_TOKEN_FILE` names.
///
/// # Errors
/// When a named file is missing or empty.
pub(crate) fn token(file: Option<&Path>) -> Result<Option<Secret<String>>> {
    let Some(file) =
        file.map(PathBuf::from).or_else(|| env_vars::read(env_vars::OCH_TOKEN_FILE).map(PathBuf::from))
    else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Expected::usage(format!("cannot read the token file `{}`: {error}", file.display()))
    })?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Expected::usage(format!("the token file `{}` is empty", file.display()))
            .hint("make one: head -c 32 /dev/urandom | base64 > token")
            .into());
    }
    Ok(Some(Secret::new(token.to_owned())))
}

/// Checks the form of a coordinator's address.
///
/// # Errors
/// When it is no http(s) address.
pub(crate) fn check_url(url: &str) -> Result<()> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(());
    }
    Err(Expected::usage(format!("the coordinator `{url}` must begin with http:// or https://")).into())
}

/// How to dial a coordinator.
///
/// # Errors
/// Usage errors of address, token and certificate.
pub(crate) fn dial(url: &str, args: &crate::args::ConnectArgs) -> Result<proto::dial::Dial> {
    check_url(url)?;
    let ca = match &args.tls_ca {
        None => None,
        Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
            Expected::usage(format!("cannot read the certificate authority `{}`: {error}", file.display()))
        })?),
    };
    let dial = proto::dial::Dial { url: url.to_owned(), token: token(args.token_file.as_deref())?, ca };
    if let Err(error) = dial.channel() {
        let hint = error.hint();
        return Err(anyhow::Error::new(error)
            .context(Expected::usage("the coordinator cannot be dialled").hint(hint)));
    }
    Ok(dial)
}
