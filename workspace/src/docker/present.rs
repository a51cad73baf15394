//! Which images an engine has, asked before a run is planned.

use super::{ConnectError, engine};
use bollard::errors::Error;

/// The images among `wanted` that the engine at `host` does not have, in their order.
///
/// # Errors
/// When no engine answers there.
pub async fn missing_images(host: &str, wanted: &[String]) -> Result<Vec<String>, ConnectError> {
    let (docker, _) = engine::connect(host).await?;
    let mut missing = Vec::new();
    for image in wanted {
        match docker.inspect_image(image).await {
            Ok(_) => {}
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => missing.push(image.clone()),
            Err(error) => return Err(ConnectError { host: host.to_owned(), why: error.to_string() }),
        }
    }
    Ok(missing)
}
