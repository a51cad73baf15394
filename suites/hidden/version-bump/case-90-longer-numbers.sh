# Longer numbers that contain the version are other versions.
. tests/expect.sh
. tests/project.sh
printf '%s\n' 'needs 21.2.0 or 1.2.01' 'since 1.2.0 (not 11.2.0)' '1.2.0 1.2.0 1.2.0' >"$project/about.txt"
sh bin/bump.sh "$project" 1.10.0
expect "about.txt" "needs 21.2.0 or 1.2.01
since 1.10.0 (not 11.2.0)
1.10.0 1.10.0 1.10.0" "$(cat "$project/about.txt")"
