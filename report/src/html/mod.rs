//! Reports as pages: one self-contained file each, readable without scripts, with nothing loaded from anywhere. Geometry is in SVG
//! attributes and looks are in the one style sheet, so that the content security policy allows neither other styles nor other scripts.

mod charts;
mod comparison;
mod matrix;
mod page;
mod preset;
#[cfg(test)]
mod tests;
