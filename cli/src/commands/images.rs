//! `och images build`: the default image, from Debian packages, without a registry.

use crate::exit::{Code, Expected};
use crate::{sandbox, say};
use anyhow::Result;

/// Builds the default image.
pub(crate) async fn build() -> Result<Code> {
    let said = |line: &str| say::note(line);
    workspace::image::build_default_image(
        &sandbox::docker_host(),
        &workspace::image::Build::default(),
        &said,
    )
    .await
    .map_err(|error| {
        let mut expected = Expected::unusable("the default image was not built");
        for hint in error.hints() {
            expected = expected.hint(hint);
        }
        anyhow::Error::new(error).context(expected)
    })?;
    say::data(workspace::DEFAULT_IMAGE);
    Ok(Code::Ok)
}
