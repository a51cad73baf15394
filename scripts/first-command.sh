#!/bin/sh
# README's first command, exactly as README shows it, and what it promises: exit code 0, no key, no Docker, a report in which presets differ.
set -eu
cd "$(dirname "$0")/.."

command=$(sed -n '/<!-- first-command -->/,/<!-- \/first-command -->/p' README.md | sed -n '/^```/,/^```/p' | sed '/^```/d')
[ -n "$command" ] || { echo "README.md shows no first command" >&2; exit 1; }
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT INT TERM
echo "$command --output-dir (temporary)" >&2
# A shell reads the command as a person's shell would; only the place of the run folder differs.
env -i HOME="$HOME" PATH="$PATH" ${CARGO_TARGET_DIR:+CARGO_TARGET_DIR="$CARGO_TARGET_DIR"} ${CARGO_HOME:+CARGO_HOME="$CARGO_HOME"} \
    ${RUSTUP_HOME:+RUSTUP_HOME="$RUSTUP_HOME"} sh -c "$command --output-dir '$store'"
json=$(find "$store" -name comparison.json | head -n 1)
[ -n "$json" ] || { echo "no comparison.json was written" >&2; exit 1; }
python3 - "$json" <<'PY'
import json, sys
comparison = json.load(open(sys.argv[1]))
rates = {column["title"]: (column["summary"]["passed"], column["summary"]["measured"]) for column in comparison["columns"]}
assert len(rates) >= 2, rates
assert len(set(rates.values())) >= 2, f"all presets are alike: {rates}"
print("presets differ:", rates)
PY
