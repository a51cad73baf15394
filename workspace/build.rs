//! Builds the tool server and hands its bytes to the library. The server is a static binary of this same package, built by a second
//! cargo with few features into a folder of this build's own; the first cargo's settings for wrappers and flags do not reach it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for the second cargo, whose build scripts must not start a third.
const NESTED: &str = "OCH_TOOLSERVER_NESTED";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-env=OCH_TOOLSERVER_BUILD={}", sources_hash(&here));
    // Inside the second cargo: nothing to embed.
    if std::env::var_os(NESTED).is_some() || std::env::var_os("CARGO_FEATURE_ENGINE").is_none() {
        return;
    }
    let (target, out) = (variable("TARGET"), PathBuf::from(variable("OUT_DIR")));
    let folder = out.join("toolserver");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .arg("build")
        .args([
            "--package",
            "workspace",
            "--bin",
            "och-toolserver",
            "--profile",
            "helper",
            "--target",
            &target,
        ])
        .args(["--no-default-features", "--features", "toolserver"])
        .arg("--manifest-path")
        .arg(here.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        // Set by `cargo clippy` and by coverage tools for the crate at hand: not for the server.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CLIPPY_ARGS")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static");
    // What cargo told this script about this build would be taken by the second one as said about its own.
    let told = ["CARGO_FEATURE_", "CARGO_CFG_", "CARGO_PKG_", "DEP_"];
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|key| told.iter().any(|start| key.starts_with(start))) {
            cargo.env_remove(key);
        }
    }
    for key in ["OUT_DIR", "TARGET", "HOST", "PROFILE", "DEBUG", "OPT_LEVEL", "NUM_JOBS"] {
        cargo.env_remove(key);
    }
    cargo.env(NESTED, "1");
    let lock = here.parent().map(|root| root.join("Cargo.lock"));
    if lock.is_some_and(|lock| lock.exists()) {
        cargo.arg("--locked");
    }
    if std::env::var_os("CARGO_NET_OFFLINE").is_some_and(|value| value == "true") {
        cargo.arg("--offline");
    }
    let status =
        cargo.status().unwrap_or_else(|error| panic!("failed to start cargo for the tool server: {error}"));
    assert!(status.success(), "failed to build the tool server (`och-toolserver`): {status}");
    let binary = folder.join(&target).join("helper/och-toolserver");
    println!("cargo::rustc-env=OCH_TOOLSERVER={}", binary.display());
}

/// A hash over everything the server is made of, so that two builds that cannot understand each other know it.
fn sources_hash(here: &Path) -> String {
    let mut files = Vec::new();
    for folder in ["src/ops", "src/server"] {
        collect(&here.join(folder), &mut files);
    }
    for file in [
        "../domain/src/ops.rs",
        "src/ops.rs",
        "src/server.rs",
        "src/wire.rs",
        "src/clock.rs",
        "src/bin/och-toolserver.rs",
        "src/lib.rs",
        "Cargo.toml",
    ] {
        files.push(here.join(file));
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        let bytes = std::fs::read(&file)
            .unwrap_or_else(|error| panic!("failed to read `{}`: {error}", file.display()));
        for byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("failed to read `{}`: {error}", folder.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a build script is spoken to through variables")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("cargo sets `{name}`: {error}"))
}
