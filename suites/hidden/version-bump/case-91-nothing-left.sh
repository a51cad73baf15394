# No temporary file stays behind.
. tests/expect.sh
. tests/project.sh
sh bin/bump.sh "$project" 2.0.0
expect "the files" ".bump VERSION about.txt control" "$(cd "$project" && ls -A | LC_ALL=C sort | tr '\n' ' ' | sed 's/ $//')"
