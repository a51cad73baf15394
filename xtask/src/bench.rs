//! Benchmarks of the real `och` binary, release profile. Prints a table; docs/performance.md quotes it with the machine it ran on.
//! Never a test: figures move with the machine, ratios within one run do not.

mod measure;

use anyhow::{Context as _, Result, bail};
use measure::{Measured, measure};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ALL: [&str; 5] = ["trial", "makespan", "memory", "bytes", "docker"];

/// Runs the named benchmarks, or all of them.
#[expect(clippy::print_stdout, reason = "the figures are the product")]
pub(crate) fn run(which: &[String]) -> Result<()> {
    if let Some(unknown) = which.iter().find(|name| !ALL.contains(&name.as_str())) {
        bail!("there is no benchmark `{unknown}`; there are {}", ALL.join(", "));
    }
    let wanted = |name: &str| which.is_empty() || which.iter().any(|other| other == name);
    let bench = Bench::prepare()?;
    println!("| benchmark | figure | target |");
    println!("| --- | --- | --- |");
    if wanted("trial") || wanted("bytes") {
        println!("{}", bench.trial()?);
    }
    if wanted("makespan") {
        println!("{}", bench.makespan()?);
    }
    if wanted("memory") {
        println!("{}", bench.memory()?);
    }
    if wanted("docker") {
        println!("{}", bench.docker()?);
    }
    Ok(())
}

/// The built binaries and a scratch directory.
struct Bench {
    och: PathBuf,
    server: PathBuf,
    scratch: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.scratch));
    }
}

impl Bench {
    fn prepare() -> Result<Self> {
        cargo(&["build", "--release", "--locked", "--bin", "och"])?;
        cargo(&[
            "build",
            "--release",
            "--locked",
            "-p",
            "providers",
            "--features",
            "testing",
            "--example",
            "model-server",
        ])?;
        let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
        let target = metadata.target_directory.as_std_path().join("release");
        let scratch = std::env::temp_dir().join(format!("och-bench-{}", std::process::id()));
        std::fs::create_dir_all(scratch.join("workspace"))?;
        std::fs::write(scratch.join("workspace/README"), "A workspace for benchmarks.\n")?;
        std::fs::write(
            scratch.join("hello.json"),
            r#"{"cases":[{"id":"hello","task":"Say hello.","workspace_template":"workspace","expect_contains":"Mock run completed"}]}"#,
        )?;
        let turn = r#"[{"text":"Mock run completed.","stop":"end_turn","usage":{"input":100,"output":5}}]"#;
        std::fs::write(
            scratch.join("hello.script.json"),
            format!(r#"{{"format":1,"models":{{"bench":{{"cases":{{"hello":{turn}}},"default":{turn}}}}}}}"#),
        )?;
        Ok(Self { och: target.join("och"), server: target.join("examples/model-server"), scratch })
    }

    fn lab_compare(&self, store: &str, preset: &str, trials: u32, more: &[&str]) -> Result<Measured> {
        let mut command = Command::new(&self.och);
        command
            .current_dir(&self.scratch)
            .env("BENCH_KEY", "bench-key-of-no-worth")
            .args([
                "lab-compare",
                "hello.json",
                "--sandbox",
                "local",
                "--context-chars",
                "0",
                "--presets",
                preset,
            ])
            .args(["--trials", &trials.to_string(), "--output-dir", store])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        measure(&mut command)
    }

    /// Harness cost of a mock trial: the difference of a long and a short run, so that start-up is not counted.
    fn trial(&self) -> Result<String> {
        let few = self.lab_compare("few", "mock", 100, &[])?;
        let many = self.lab_compare("many", "mock", 4100, &[])?;
        let millis = (many.cpu_seconds - few.cpu_seconds) / 4000.0 * 1000.0;
        let stored = |store: &str| run_bytes(&self.scratch.join(store));
        let bytes = stored("many")?.saturating_sub(stored("few")?) / 4000;
        let rate = 4000.0 / (many.wall_seconds - few.wall_seconds);
        let mut rows = String::new();
        writeln!(
            rows,
            "| CPU of a mock trial without a tool process (4 000 trials, start-up apart) | {millis:.2} ms | under 0.5 ms |"
        )?;
        writeln!(rows, "| mock trials a second, one process, {} cores | {rate:.0} | |", cores())?;
        write!(
            rows,
            "| bytes stored for a mock trial, the seal included, reports apart | {bytes} | under 3 000 |"
        )?;
        Ok(rows)
    }

    fn makespan(&self) -> Result<String> {
        let mut rows = String::new();
        for (flavour, provider) in [("--openai", "openai-compatible"), ("--anthropic", "anthropic")] {
            let mut server = ModelServer::start(&self.server, &self.scratch, flavour, 200)?;
            self.write_config(provider, &server.url)?;
            let done = self.lab_compare(
                &format!("makespan{flavour}"),
                "bench",
                2000,
                &["--config", "bench.toml", "--concurrency", "256"],
            );
            server.stop();
            let ideal = 2000.0 / 256.0 * 0.2;
            let actual = done?.wall_seconds;
            writeln!(
                rows,
                "| makespan, 2 000 trials, 256 in flight, 200 ms {provider} model | {actual:.2} s, ideal {ideal:.2} s: {:.2} | 0.90 |",
                ideal / actual
            )?;
        }
        Ok(rows.trim_end().to_owned())
    }

    fn memory(&self) -> Result<String> {
        let mut rows = String::new();
        for trials in [2000_u32, 8000] {
            let mut server = ModelServer::start(&self.server, &self.scratch, "--openai", 1000)?;
            self.write_config("openai-compatible", &server.url)?;
            let done = self.lab_compare(
                &format!("memory{trials}"),
                "bench",
                trials,
                &["--config", "bench.toml", "--concurrency", "1000"],
            );
            server.stop();
            writeln!(
                rows,
                "| peak memory, 1 000 trials in flight, {trials} trials | {} MiB | under 300 MiB |",
                done?.peak_kib / 1024
            )?;
        }
        Ok(rows.trim_end().to_owned())
    }

    fn write_config(&self, provider: &str, url: &str) -> Result<()> {
        let text = format!(
            "[presets.bench]\nprovider = \"{provider}\"\nbase_url = \"{url}\"\nmodel = \"bench\"\nstream = true\napi_key_env = \"BENCH_KEY\"\n"
        );
        Ok(std::fs::write(self.scratch.join("bench.toml"), text)?)
    }

    /// The workspace crate measures itself: it needs an engine and an image.
    fn docker(&self) -> Result<String> {
        let output = Command::new(env!("CARGO"))
            .args([
                "run",
                "--release",
                "--locked",
                "--quiet",
                "-p",
                "workspace",
                "--example",
                "measure",
                "docker",
            ])
            .output()?;
        if !output.status.success() {
            bail!("the Docker benchmark failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }
}

/// A model server in its own process, so that its CPU and memory are not ours.
struct ModelServer {
    child: Child,
    url: String,
}

impl ModelServer {
    fn start(program: &Path, scratch: &Path, flavour: &str, latency: u32) -> Result<Self> {
        let mut child = Command::new(program)
            .current_dir(scratch)
            .args([
                flavour,
                "--script",
                "hello.script.json",
                "--port",
                "0",
                "--latency-ms",
                &latency.to_string(),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start the model server")?;
        let stdout = child.stdout.take().context("the model server has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned);
        match url {
            Some(url) => Ok(Self { child, url }),
            None => {
                drop(child.kill());
                bail!("the model server did not say where it listens: `{}`", line.trim())
            }
        }
    }

    fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn cargo(args: &[&str]) -> Result<()> {
    let status = Command::new(env!("CARGO")).args(args).status()?;
    if status.success() { Ok(()) } else { bail!("cargo {} failed", args.join(" ")) }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes of all runs in a store: the truth, without the reports derived from it.
fn run_bytes(store: &Path) -> Result<u64> {
    let mut bytes = folder_bytes(store)?;
    for run in std::fs::read_dir(store)? {
        bytes -= folder_bytes(&run?.path().join("report"))?;
    }
    Ok(bytes)
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { folder_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
