#!/usr/bin/env python3
"""Plays a suite's script against its fixtures, without och: for people who write cases.

    python3 suites/check.py [suites/repair.json]

For every case it shows that the untouched fixture fails its verify command, and then how each scripted model ends. It exits with 1
when a fixture passes untouched, or when a model that is meant to solve everything (`careful`, `scripted`) does not. Knows only
what the scripts here use: the tools below, `DIR/**` and plain paths in `protected`, no errors but status 400.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MAX_STEPS = 8
SOLVERS = ("careful", "scripted")


class ToolError(Exception):
    """What a tool refuses; returned to the model."""


def run(command, folder, stdin=None):
    done = subprocess.run(command, shell=isinstance(command, str), cwd=folder, input=stdin, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode == 0, done.stdout


def use(tool, args, folder):
    """Executes one tool call; its output."""
    path = folder / args.get("path", ".")
    if tool == "list_files":
        return "\n".join(sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir()))
    if tool == "read_file":
        if not path.is_file():
            raise ToolError(f"{args['path']} does not exist")
        return path.read_text(encoding="utf-8")
    if tool == "search_text":
        return run(["grep", "-rnF", "--", args["pattern"], args.get("path", ".")], folder)[1]
    if tool == "write_file":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(args["content"], encoding="utf-8")
        return f"Wrote {args['path']}"
    if tool == "replace_text":
        text = path.read_text(encoding="utf-8")
        if args["old"] not in text:
            raise ToolError(f"the text is not in {args['path']}")
        path.write_text(text.replace(args["old"], args["new"], 1), encoding="utf-8")
        return f"Changed {args['path']}"
    if tool == "apply_patch":
        ok, output = run(["git", "apply", "-"], folder, args["patch"])
    elif tool == "shell":
        ok, output = run(args["command"], folder)
    elif tool == "todo_set":
        return json.dumps(args["items"])
    else:
        raise ToolError(f"there is no tool {tool}")
    if not ok:
        raise ToolError(output)
    return output


def play(turns, said, folder, watch=None):
    """One agent round. Returns how it ended, the summary, and the number of replies so far."""
    last_failed = False
    for _ in range(MAX_STEPS):
        turn = turns[min(said, len(turns) - 1)]
        said += 1
        if "error" in turn:
            return "exception", "", said
        results = []
        for call in turn.get("tool_calls", []):
            if call["name"] == "finish":
                return "finished", call["arguments"]["summary"], said
            try:
                results.append(use(call["name"], call["arguments"], folder))
                last_failed = False
            except ToolError as error:
                results.append(str(error))
                last_failed = True
        if watch:
            watch(turn, results)
        if not turn.get("tool_calls"):
            return "finished", turn["text"], said
    return ("tool_failure" if last_failed else "max_steps"), "", said


def verify(case, source, template, folder):
    """Puts protected and hidden files in place and runs the verify command."""
    for glob in case.get("protected", []):
        name = glob.removesuffix("/**")
        target = folder / name
        if target.is_dir():
            shutil.rmtree(target)
            shutil.copytree(template / name, target)
        else:
            shutil.copy(template / name, target)
    for name, hidden in case.get("verify_files", {}).items():
        shutil.copy(source / hidden, folder / name)
    return run(case["verify_command"], folder)


def attempt(case, turns, source, watch=None):
    """How a model ends on a case: the word of the report, with `(feedback)` when it took a repair round."""
    template = source / case["workspace_template"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "workspace"
        shutil.copytree(template, folder)
        said = 0
        for attempt_no in range(case.get("verify_feedback_attempts", 1) + 1):
            end, summary, said = play(turns, said, folder, watch)
            if end != "finished":
                return end
            if case.get("expect_contains", "") not in summary:
                return "expectation_mismatch"
            ok, output = verify(case, source, template, folder)
            if ok:
                return "passed (feedback)" if attempt_no else "passed"
            if watch:
                watch(None, [output])
        return "verification_failure"


def load(path):
    """The cases of a suite with its defaults laid under them, and the models of its script."""
    suite = json.loads(path.read_text(encoding="utf-8"))
    cases = [{**suite.get("defaults", {}), **case} for case in suite["cases"]]
    script = json.loads(path.with_suffix(".script.json").read_text(encoding="utf-8"))
    return cases, script["models"]


def main(path):
    cases, models = load(path)
    source, bad = path.parent, 0
    for case in cases:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "workspace"
            shutil.copytree(source / case["workspace_template"], folder)
            untouched, _ = run(case["verify_command"], folder)
        bad += untouched
        words = ["untouched: " + ("PASSES" if untouched else "fails")]
        for model, script in models.items():
            word = attempt(case, script["cases"].get(case["id"]) or script["default"], source)
            bad += model in SOLVERS and word != "passed"
            words.append(f"{model}: {word}")
        print(f"{case['id']:<16} " + " · ".join(words))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("repair.json"))))
