//! Paths as models write them. The workspace resolves them again beneath its root; this check is only the first and the one
//! with the clearer words.

/// The path relative to the workspace in its shortest form, or why it is refused.
pub(crate) fn resolve(path: &str) -> Result<String, String> {
    if path.contains('\0') {
        return Err("a path cannot hold a NUL character".to_owned());
    }
    if path.starts_with('/') || path.starts_with('~') && (path.len() == 1 || path.starts_with("~/")) {
        return Err(format!("`{path}` is outside the workspace: give a path relative to the workspace"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(format!("`{path}` leads outside the workspace"));
                }
            }
            name => parts.push(name),
        }
    }
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}
