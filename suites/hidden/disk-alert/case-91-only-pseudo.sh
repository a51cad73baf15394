# Nothing but pseudo file systems is a calm machine.
. tests/expect.sh
status=0
got=$(printf 'Filesystem x x x x x\nproc 0 0 0 - /proc\n' | sh bin/disk-alert.sh 1 2>&1) || status=$?
expect "no output" "" "$got"
expect "the exit status" 0 "$status"
