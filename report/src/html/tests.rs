//! What every page must keep.

use super::page::SOURCES;
use base64::Engine as _;
use sha2::{Digest, Sha256};

/// The content security policy names style and script by hash: a changed file with an old hash would be a page without looks.
#[test]
fn policy_allows_exactly_our_style_and_script() {
    for (source, hash) in SOURCES {
        let found = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(source.as_bytes()));
        assert_eq!(found, hash);
        assert!(!source.contains("</"), "would end its element");
        assert!(!source.contains("http"), "nothing is loaded from elsewhere");
    }
}
