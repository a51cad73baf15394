//! A scripted model server to run by hand: `cargo run --release -p providers --features testing --example model-server -- --script FILE`.
//! Speaks OpenAI and Anthropic unless only one is asked for; prints its address on the first line and runs until it is stopped.

use providers::testing::{ModelServer, Options};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str =
    "usage: model-server [--openai] [--anthropic] [--script FILE] [--port N] [--latency-ms N] [--no-key]";

fn fail(text: &str) -> ExitCode {
    // Nothing can be done when standard error is closed.
    let _ = writeln!(std::io::stderr(), "model-server: {text}\n{USAGE}");
    ExitCode::from(2)
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut options = Options { keep_log: false, ..Options::default() };
    let (mut openai, mut anthropic) = (false, false);
    let mut script =
        serde_json::json!({"format": 1, "models": {"*": {"default": [{"text": "Mock run completed."}]}}});
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--openai" => openai = true,
            "--anthropic" => anthropic = true,
            "--no-key" => options.require_key = false,
            "--script" | "--port" | "--latency-ms" => {
                let Some(value) = arguments.next() else { return fail(&format!("{argument} needs a value")) };
                match argument.as_str() {
                    "--script" => {
                        let read = std::fs::read_to_string(&value)
                            .map_err(|error| error.to_string())
                            .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
                        match read {
                            Ok(read) => script = read,
                            Err(error) => return fail(&format!("{value}: {error}")),
                        }
                    }
                    "--port" => match value.parse() {
                        Ok(port) => options.port = port,
                        Err(_) => return fail(&format!("`{value}` is no port")),
                    },
                    _ => match value.parse() {
                        Ok(millis) => options.latency = Duration::from_millis(millis),
                        Err(_) => return fail(&format!("`{value}` is no number of milliseconds")),
                    },
                }
            }
            other => return fail(&format!("unknown argument `{other}`")),
        }
    }
    if openai || anthropic {
        (options.openai, options.anthropic) = (openai, anthropic);
    }
    let mut server = match ModelServer::start_with(&script, options).await {
        Ok(server) => server,
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            return fail(&format!("{error}{cause}"));
        }
    };
    if writeln!(std::io::stdout(), "{}", server.base_url()).is_err() {
        return ExitCode::from(1);
    }
    server.wait().await;
    ExitCode::SUCCESS
}
