//! The policy as a table, the holes of the original system, and the promise that no text panics or slips through.

use super::*;
use proptest::prelude::*;

const READ_ONLY: Permissions = Permissions { allow_write: false, allow_shell: true };
const WRITING: Permissions = Permissions { allow_write: true, allow_shell: true };

/// What a line is: `inspect`, `test`, `write`, `execute`, or `never` with a part of the reason.
#[track_caller]
fn check(line: &str, expect: &str) {
    if let Err(why) = verdict(line, expect) {
        panic!("{why}");
    }
}

fn verdict(line: &str, expect: &str) -> Result<(), String> {
    let got = match classify(line) {
        Ok(verdict) => format!("{:?}", verdict.class).to_lowercase(),
        Err(refusal) => format!("never: {refusal}"),
    };
    let fits = match expect.strip_prefix("never") {
        Some(part) => {
            got.starts_with("never")
                && got.contains(part.trim_start_matches(": "))
                && judge(line, &WRITING).is_err()
        }
        None => got == expect,
    };
    let looks = judge(line, &READ_ONLY).is_ok();
    let off = judge(line, &Permissions { allow_write: true, allow_shell: false });
    if fits && looks == matches!(expect, "inspect" | "test") && off == Err(Refusal::Off) {
        return Ok(());
    }
    Err(format!("`{line}` is {got}, wanted {expect}"))
}

#[track_caller]
fn table(rows: &str) {
    let mut wrong = Vec::new();
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (line, expect) = row.rsplit_once(" => ").unwrap_or_else(|| panic!("no verdict in `{row}`"));
        wrong.extend(verdict(&line.replace("\\n", "\n"), expect.trim()).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn looking_is_allowed() {
    table(
        r#"
        ls => inspect
        ls -la src => inspect
        ls -la src/../docs => inspect
        pwd => inspect
        cat README.md => inspect
        cat "a file.txt" 'b' c\ d => inspect
        head -n 20 src/main.rs => inspect
        tail -5 log.txt => inspect
        wc -l src/*.py => inspect
        grep -rn "def add" src => inspect
        grep -rn "/api/users" src => inspect
        grep -e /api -e /v1 src/app.py => inspect
        grep -A 3 foo README.md => inspect
        rg -n 'fn main' => inspect
        rg --files -g '*.rs' => inspect
        rg -l TODO src => inspect
        find . -name '*.py' -not -path './.git/*' => inspect
        find . -path /etc -prune -o -print => inspect
        find src tests -type f -newer README.md => inspect
        git status => inspect
        git log --oneline -5 => inspect
        git diff => inspect
        git diff HEAD~1 -- src => inspect
        git show HEAD:README.md => inspect
        git branch -a => inspect
        git blame src/a.py => inspect
        git grep -n foo => inspect
        git --no-pager log -3 => inspect
        git -C sub log => inspect
        git config --get user.name => inspect
        git stash list => inspect
        git remote -v => inspect
        git ls-files | wc -l => inspect
        sort names.txt | uniq -c | sort -rn | head => inspect
        diff -u a.txt b.txt => inspect
        echo hello && echo world; echo done => inspect
        echo "$HOME" => inspect
        echo $((1 + 2 * (3 - x))) => inspect
        stat README.md && file README.md => inspect
        sed -n '1,40p' src/a.py => inspect
        sed -n -e '/def/p' -e '$=' a.py => inspect
        sed 's/a/b/g' a.txt => inspect
        awk '{print $1}' data.txt => inspect
        awk -F: 'NR == 2 {print $1, $2}' data.txt => inspect
        cat a.txt 2>/dev/null || true => inspect
        ls missing 2>&1 | head -3 => inspect
        cat < input.txt => inspect
        cat <<'EOF'\nhello $(rm x)\nEOF => inspect
        cat <<EOF\nhello $USER\nEOF => inspect
        cd src && ls => inspect
        (cd src; grep -c foo *.py) => inspect
        { ls; pwd; } | cat => inspect
        if [ -f Makefile ]; then head Makefile; else echo none; fi => inspect
        for f in a.py b.py; do wc -l "$f"; done => inspect
        for f in src/*.py; do echo "== $f"; head -3 $f; done => inspect
        name=README.md; cat "$name" => inspect
        while true; do break; done => inspect
        case "$x" in a) ls;; *) pwd;; esac => inspect
        ! grep -q foo a.txt => inspect
        time ls => inspect
        timeout 5 ls => inspect
        env LANG=C ls => inspect
        LC_ALL=C sort a.txt => inspect
        command -v python3 => inspect
        which cargo => inspect
        python3 --version => inspect
        cargo --version => inspect
        sh -c 'ls -l | head -2' => inspect
        eval "ls -l" => inspect
        test -d src && echo yes => inspect
        find . -name '*.py' | xargs grep -n import => inspect
        git ls-files '*.rs' | head -5 | xargs wc -l => inspect
        show() { ls -l; }; show => inspect
        ls # a comment; rm -rf . => inspect
        jq '.a/.b' package.json => inspect
        tree -L 2 => inspect
        ls -l \n pwd => inspect
        printf '%s' a b => inspect
        du -sh . => inspect
        md5sum a.txt => inspect
        git log --format=%H -S/x => inspect
        npm ls => inspect
        pip list => inspect
        "#,
    );
}

#[test]
fn running_the_projects_tests_is_allowed() {
    table(
        r#"
        pytest => test
        pytest -q tests/test_a.py::test_x -k 'not slow' => test
        pytest -x -p no:cacheprovider => test
        python -m pytest -q => test
        python3 -m unittest discover -s tests -t . => test
        python3 -B -m unittest => test
        python -m unittest discover -s tests -p 'test_*.py' => test
        PYTHONPATH=src python3 -m pytest => test
        python3 tests/test_calc.py => test
        python3 test_calc.py -v => test
        cargo test => test
        cargo test -p core -- --nocapture => test
        cargo +nightly test => test
        cargo nextest run => test
        npm test => test
        npm run test:unit => test
        yarn test => test
        go test ./... => test
        go test -run TestAdd -v ./pkg => test
        make test => test
        make -s check => test
        node --test => test
        node --test tests/ => test
        node tests/run.js => test
        sh tests/run.sh => test
        bash -e ./run_tests.sh => test
        sh test.sh 2>&1 | tail -20 => test
        cd sub && pytest -q => test
        timeout 60 pytest => test
        mvn -q test => test
        gradle test => test
        ruby test/test_a.rb => test
        for t in tests/*.sh; do sh "$t"; done => test
        "#,
    );
}

#[test]
fn changing_and_running_needs_writing() {
    table(
        r#"
        touch a.txt => write
        echo hi > a.txt => write
        echo hi >> src/a.txt => write
        echo hi >| a.txt => write
        cat <<EOF > a.txt\nhello\nEOF => write
        cp a b => write
        mv a b => write
        rm -rf build => write
        mkdir -p a/b => write
        tee out.txt => write
        ls | tee out.txt => write
        sed -i 's/a/b/' a.py => write
        sed --in-place=.bak 's/a/b/' a.py => write
        sort -o a.txt a.txt => write
        sort --outp=x a.txt => write
        uniq a.txt b.txt => write
        find . -name '*.pyc' -delete => write
        find . -fprint out.txt => write
        git add -A => write
        git commit -m "fix /etc/passwd reading" => write
        git checkout -- src/a.py => write
        git branch new => write
        git stash => write
        git config user.name x => write
        git diff --output=x.patch => write
        git log --outp x.patch => write
        chmod +x run.sh => write
        tree -o out.txt => write
        patch -p1 < fix.patch => write
        python3 script.py => execute
        python3 -c 'print(1)' => execute
        python -m json.tool a.json => execute
        sh x.sh => execute
        ./run.sh => execute
        ./gradlew build => execute
        make => execute
        make test CC=evil => execute
        cargo build --release => execute
        cargo test --config build.rustc-wrapper=x => execute
        cargo clippy => execute
        gcc -o a a.c => execute
        node index.js => execute
        npm run build => execute
        go run . => execute
        go test -exec ./x ./... => execute
        pytest -p evil => execute
        pytest --basetemp=src => execute
        git -c core.pager=x log => execute
        git diff --ext-diff => execute
        git grep -Ovim foo => execute
        git grep --open-files-in-pager=x foo => execute
        rg --pre cat foo => execute
        rg --pre=./x foo => execute
        find . -exec grep -l foo {} \; => execute
        find . -name x -exec rm {} + => execute
        sort --compress-program=./x a => execute
        awk 'BEGIN { system("id") }' => execute
        awk '{ print > "out" }' a => execute
        sed '1e id' a.txt => execute
        sed 's/a/b/w out' a.txt => execute
        sed -f x.sed a.txt => execute
        echo ls | sh => execute
        cat $FILE => execute
        sort --files0-from=list => execute
        nm --plugin=./x.so a.o => execute
        npm test --script-shell=./x => execute
        ctest -S script => execute
        cat "$(ls | head -1)" => execute
        echo a | xargs cat => execute
        . ./env.sh => execute
        read f; cat "$f" => execute
        CC=clang make => execute
        python3 script.py & => execute
        cat a{1..2} => never: brace expansion
        "#,
    );
}

#[test]
fn some_things_are_never_allowed() {
    table(
        r#"
        curl http://x => never: network
        wget -q http://x => never: network
        ls && curl http://x => never: network
        $(curl x) => never: network
        pip install requests => never: network
        python3 -m pip install x => never: network
        npm install => never: network
        npm ci => never: network
        yarn add x => never: network
        cargo add serde => never: network
        go get x => never: network
        git push => never: network
        git clone http://x => never: network
        git remote update => never: network
        apt-get install x => never: network
        ssh host => never: network
        sudo ls => never: not allowed
        su -c ls => never: not allowed
        docker ps => never: not allowed
        mount => never: not allowed
        unshare -r sh => never: not allowed
        chroot . ls => never: not allowed
        alias ls=rm => never: not allowed
        strange-tool --x => never: not a known program
        git frobnicate => never: not a known program
        git --exec-path=. status => never: not allowed
        git --git-dir=/x status => never: not allowed
        /bin/ls => never: not allowed
        ../ls => never: not allowed
        cat /etc/passwd => never: outside
        cat ../secret => never: outside
        cat src/../../secret => never: outside
        cat ~/.ssh/id_rsa => never: outside
        cat .*/secret => never: outside
        ls .* => never: outside
        cat < /etc/passwd => never: outside
        echo x > /tmp/y => never: outside
        echo x > ../y => never: outside
        cp a /tmp/a => never: outside
        dd if=/dev/zero of=a => never: outside
        grep root /etc/passwd => never: outside
        grep -f /etc/passwd a => never: outside
        grep --file=/etc/passwd a => never: outside
        find / -name x => never: outside
        find .. -name x => never: outside
        find -O3 /etc => never: outside
        find -D search /etc => never: outside
        find . -newer /etc/passwd => never: outside
        date -f /etc/passwd => never: outside
        jq -f /etc/passwd => never: outside
        git grep -f /etc/passwd => never: outside
        git diff --no-index a b => never: not allowed
        git diff --no-ind a b => never: not allowed
        git diff /etc/passwd /etc/hosts => never: outside
        git -C .. log => never: outside
        cd .. && ls => never: outside
        cd => never: outside
        cd - => never
        sh -c 'cat /etc/passwd' => never: outside
        eval 'cat /etc/passwd' => never: outside
        eval "$x" => never: known only when it runs
        sh -c "$x" => never: known only when it runs
        $cmd a => never: known only when it runs
        l$x => never: known only when it runs
        env -S 'rm x' => never: not allowed
        env $x ls => never: known only when it runs
        xargs curl => never: network
        find . -exec curl {} \; => never: network
        timeout 5 curl x => never: network
        nohup sudo ls => never: not allowed
        exec curl x => never: network
        trap 'curl x' EXIT => never: network
        LD_PRELOAD=./x.so ls => never: not allowed
        PATH=. ls => never: not allowed
        PATH=.:$PATH; ls => never: not allowed
        export PATH=. => never: not allowed
        env PATH=. ls => never: not allowed
        GIT_EXTERNAL_DIFF=./x git diff => never: not allowed
        GIT_DIR=/x git log => never: not allowed
        BASH_ENV=x sh -c ls => never: not allowed
        IFS=x => never: not allowed
        http_proxy=x ls => never: not allowed
        for PATH in a b; do ls; done => never: not allowed
        cat <(ls) => never: plain sh
        cat <<< hi => never: plain sh
        ls &> out => never: plain sh
        ls |& cat => never: plain sh
        [[ -f a ]] && ls => never: plain sh
        ((x = 1)) => never: plain sh
        echo $'a\'b' => never: plain sh
        echo ${x//a/b} => never: plain sh
        echo ${!x} => never
        a=(1 2) => never: plain sh
        x+=1 => never
        cat a{b,c} => never: brace expansion
        echo 'open => never: quote
        echo "open => never: quote
        if ls; then => never: plain sh
        ls; ) => never: plain sh
        echo `echo \`id\`` => never
        "" => never
        "#,
    );
    check("ls\r\ntouch x", "never: U+000D");
    check("ls \u{E000}", "never: U+E000");
    check("", "never: empty");
    check("99999999999999999999>x", "never");
}

#[test]
fn hole_01_background_ampersand() {
    check("ls & touch pwned", "write");
    check("ls & curl x", "never: network");
    check("ls &", "inspect");
}

#[test]
fn hole_02_redirection_without_a_blank() {
    check("ls >written.txt", "write");
    check("ls>written.txt", "write");
    check("ls 2>err", "write");
    check("ls 2>/dev/null", "inspect");
    check("ls <>file", "write");
    check("ls >&file", "never");
}

#[test]
fn hole_03_executable_judged_by_base_name() {
    check("./ls", "execute");
    check("/tmp/ls", "never: not allowed");
    check("sub/git status", "execute");
    check("../git status", "never: not allowed");
}

#[test]
fn hole_04_tests_with_chosen_code() {
    // Tests run in the sandbox with its own small environment; what is judged here is that nothing else passes for a test.
    check("pytest -c evil.ini", "execute");
    check("python -m pytest -p evil", "execute");
    check("python3 -c 'import os'", "execute");
    check("pytest --rootdir=/etc", "never: outside");
}

#[test]
fn hole_05_paths_and_options_of_reading_commands() {
    check("git diff --output=F", "write");
    check("git diff --no-index /etc/passwd a", "never");
    check("rg x /etc/passwd", "never: outside");
    check("rg --pre CMD x", "execute");
    check("ls /etc", "never: outside");
    check("grep -T foo /etc/passwd", "never: outside");
    check("x=/etc/passwd; cat $x", "never: outside");
    check("for f in /etc/passwd; do :; done; cat $f", "never: outside");
    check("f=a; for f in /etc/passwd; do :; done; cat $f", "never: outside");
    check("f() { cat \"$1\"; }; f /etc/passwd", "execute");
    check("cd src && cat ../../x", "never: outside");
}

#[test]
fn hole_06_links_are_the_workspaces_business_but_making_them_outwards_is_not() {
    check("ln -s /etc/passwd x", "never: outside");
    check("ln -s ../../x y", "never: outside");
}

#[test]
fn hole_62_quotes_and_here_documents_hide_nothing() {
    check("echo \\$'a\\'; touch pwned; echo ''", "never");
    check("cat <<EOF\nfoo\\\nEOF\necho '\nEOF\ntouch pwned #'", "never");
    check("cat <<EOF\n$(touch pwned)\nEOF", "write");
    check("cat <<EOF\n`touch pwned`\nEOF", "write");
    check("echo \"$(touch pwned)\"", "write");
    check("echo ${x:-$(touch pwned)}", "never");
    check("echo $((`touch pwned`))", "never");
    check("echo \"a'b\" ; touch \"c'd\"", "write");
    check("'l's", "inspect");
    check("l\\s", "inspect");
    check("to\\uch x", "write");
    check("echo a\ntouch pwned", "write");
    check("echo a#b; touch x", "write");
    check("ls() { touch x; }; ls", "write");
    check("if true; then touch x; fi", "write");
    check("while ls; do touch x; done", "write");
    check("until ls; do touch x; done", "write");
    check("case a in a) touch x;; esac", "write");
    check("(touch x)", "write");
    check("{ touch x; }", "write");
    check("true || touch x", "write");
    check("ls | xargs touch", "execute");
    check("f() { touch x; } > y", "write");
    check("{ ls; } > y", "write");
    check("for f in a; do ls; done > y", "write");
    check("ls $(echo `touch x`)", "execute");
}

#[test]
fn the_refusal_says_what_to_do() {
    let said = judge("sort -o a a", &READ_ONLY).unwrap_err().to_string();
    assert_eq!(
        said,
        "`sort -o` writes a file, and this task allows no writing: only inspecting files and running the project's tests is allowed"
    );
    assert_eq!(judge("cat ~/x", &WRITING).unwrap_err().to_string(), "`~/x` is outside the workspace");
}

#[test]
fn deep_and_long_lines_cost_little() {
    let nested = [
        "(".repeat(5000),
        format!("{}ls{}", "( ".repeat(40), " )".repeat(40)),
        format!("{}ls{}", "$(".repeat(3000), ")".repeat(3000)),
        format!("{}ls{}", "{ ".repeat(40), "; }".repeat(40)),
        "case x in a) ".repeat(8) + &"esac ".repeat(8),
        "if ls; then ".repeat(40) + &"fi; ".repeat(40),
        "! ".repeat(40) + "ls",
        "${".repeat(5000),
        "`".repeat(4001),
        "a ".repeat(20_000),
        "x=1;".repeat(10_000),
        "\"$x\" ".repeat(10_000),
        format!("for a in x; do {} done", "for b in $a$a; do echo $b;".repeat(10) + &"done;".repeat(10)),
    ];
    for line in nested {
        // The verdict does not matter, that there is one does.
        let _verdict = classify(&line);
    }
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "ls",
            "echo",
            "cat",
            "touch pwned",
            "$(",
            ")",
            "`",
            "'",
            "\"",
            "\\",
            "\n",
            ";",
            "&",
            "&&",
            "||",
            "|",
            ">",
            "<",
            "<<EOF",
            "EOF",
            "$x",
            "${x}",
            "${x:-",
            "}",
            "{",
            "(",
            "$((",
            "))",
            "#",
            "x=",
            "!",
            "if",
            "then",
            "fi",
            "for",
            "in",
            "do",
            "done",
            "case",
            "esac",
            ";;",
            "while",
            " ",
            "$'",
            "2>",
            "*",
            "~",
            "..",
            "/",
            "a",
            "-",
            "eval",
            "sh -c",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,4}",
    ]
}

proptest! {
    #[test]
    fn no_text_panics_the_policy(text in "\\PC{0,200}") {
        let _verdict = classify(&text);
    }

    #[test]
    fn no_sequence_of_signs_panics_the_policy(pieces in prop::collection::vec(piece(), 0..40)) {
        let _verdict = classify(&pieces.concat());
        let _verdict = classify(&pieces.join(" "));
    }
}

/// The real shell as the judge of the judge: whatever is called inspecting must leave no file behind when `sh` runs it.
#[cfg(unix)]
mod against_the_shell {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    /// More were run by hand; these keep the promise.
    const CASES: u32 = 1500;

    struct Place {
        root: PathBuf,
    }

    impl Place {
        fn make(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("och-agent-{}-{name}", std::process::id()));
            std::fs::create_dir_all(root.join("bin")).unwrap();
            std::fs::create_dir_all(root.join("work")).unwrap();
            // The only programs that exist; `touch` is the only one that changes anything.
            for (program, body) in [("ls", "exit 0"), ("cat", "exit 0"), ("touch", ": > \"$HOME/touched\"")] {
                let path = root.join("bin").join(program);
                std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            Self { root }
        }

        fn run(&self, line: &str) -> bool {
            let work = self.root.join("work");
            let status = Command::new("/bin/sh")
                .args(["-c", line])
                .current_dir(&work)
                .env_clear()
                .env("PATH", self.root.join("bin"))
                .env("HOME", &self.root)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(status.is_ok());
            let touched = self.root.join("touched");
            let changed = touched.exists() || std::fs::read_dir(&work).unwrap().next().is_some();
            let _gone = std::fs::remove_file(touched);
            changed
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.root);
        }
    }

    /// Statements that close by themselves, with one or two signs thrown in that may not.
    fn nasty() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "a",
            " ",
            " ",
            "'a'",
            "\"b\"",
            "';touch x;'",
            "\";touch x;\"",
            "$(ls)",
            "\"$(ls ')')\"",
            "'\"'",
            "\"'\"",
            "\\;",
            "\\\\",
            "$((1+2))",
            "${y}",
            "\"${y:-a}\"",
            "$y",
            "`ls`",
            "\\$",
            "'$'",
            "\"\\$(touch x)\"",
            "a#",
            " #touch x\n",
            "${#y}",
            " 2>&1 ",
            " </dev/null ",
            " >/dev/null ",
            "\"\\\\\"",
            "'\\'",
            "\\'",
            "\\\"",
            "\\\n",
            "\"\\\n\"",
            " <<E\nx'\nE\n",
            " <<'E'\n$(touch x)\nE\n",
            " <<E\n\\$(touch x)\nE\n",
            " <<-E\n\tx\n\tE\n",
            "\"`ls`\"",
            "$",
            "E",
            "=",
            "!",
        ]);
        let echo = prop::collection::vec(word, 0..6).prop_map(|words| format!("echo {}", words.concat()));
        let whole = prop::sample::select(vec![
            "(ls)",
            "{ ls;}",
            "if ls;then echo;fi",
            "case a in (a) ls;; esac",
            "for f in a 'touch x';do echo $f;done",
            "eval 'ls'",
            "sh -c 'ls'",
            "! ls",
            "y='touch x'",
            "ls",
        ]);
        let statement = prop_oneof![4 => echo, 1 => whole.prop_map(str::to_owned)];
        let separator = prop::sample::select(vec![";", "\n", " && ", " || ", " | ", " & ", ""]);
        let sign = prop::sample::select(vec![
            "'",
            "\"",
            "\\",
            "\n",
            ";",
            "&",
            "|",
            ">y",
            "<<E\n",
            "\nE\n",
            "$(",
            ")",
            "`",
            "$",
            "#",
            "(",
            "{ ",
            ";}",
            "$'",
            "$\"",
            "touch x",
            ";touch x;",
            "\ntouch x\n",
            "${y",
            "}",
            "$((",
            "))",
            "\\\n",
            "eval ",
            "f()",
            "!",
            "",
        ]);
        let signs = prop::collection::vec((any::<prop::sample::Index>(), sign), 0..3);
        (prop::collection::vec((statement, separator), 1..5), signs).prop_map(|(statements, signs)| {
            let mut chars: Vec<char> = statements
                .into_iter()
                .flat_map(|(a, b)| format!("{a}{b}").chars().collect::<Vec<_>>())
                .collect();
            for (at, sign) in signs {
                let at = at.index(chars.len() + 1);
                chars.splice(at..at, sign.chars());
            }
            chars.into_iter().collect()
        })
    }

    fn terminates(line: &str) -> bool {
        !line.contains("f()") || !line.matches('f').nth(1).is_some_and(|_| line.contains("f;"))
    }

    #[test]
    fn what_is_called_inspecting_changes_nothing() {
        let place = Place::make("oracle");
        assert!(place.run("echo a; touch x"), "the shell and the programs of this test work");
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: CASES,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let judged_inspecting = std::cell::Cell::new(0_u32);
        runner
            .run(&nasty(), |line| {
                if terminates(&line) && matches!(judge(&line, &READ_ONLY), Ok(Class::Inspect)) {
                    judged_inspecting.set(judged_inspecting.get() + 1);
                    prop_assert!(!place.run(&line), "`{}` changed something", line);
                }
                Ok(())
            })
            .unwrap();
        assert!(
            judged_inspecting.get() > 200,
            "the lines are too strange to test anything: {}",
            judged_inspecting.get()
        );
        assert!(Path::new(&place.root).exists());
    }
}
