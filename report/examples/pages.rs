//! Writes sample pages to a directory, to look at them: `cargo run -p report --example pages -- target/pages`.

#![expect(clippy::unwrap_used, reason = "the fixtures are those of tests")]

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let place = PathBuf::from(std::env::args().nth(1).ok_or("usage: pages DIRECTORY")?);
    fs::create_dir_all(&place)?;
    for (name, run) in [("small", fixture::small()), ("several", fixture::several())] {
        let view = fixture::view(run);
        let links = fixture::links();
        let comparison = report::comparison(&view, &links);
        fs::write(place.join(format!("{name}.html")), comparison.to_html())?;
        fs::write(place.join(format!("{name}.md")), comparison.to_markdown())?;
        fs::write(place.join(format!("{name}.json")), comparison.to_json())?;
        for preset in view.presets().take(2) {
            let Some(page) = report::preset_report(&view, preset, &links) else { continue };
            fs::write(place.join(format!("{name}-{preset}.html")), page.to_html())?;
            fs::write(place.join(format!("{name}-{preset}.md")), page.to_markdown())?;
            fs::write(place.join(format!("{name}-{preset}.json")), page.to_json())?;
        }
    }
    Ok(())
}
