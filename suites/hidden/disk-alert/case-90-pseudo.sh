# Lines without a percentage are left out quietly, and status 1 still comes through.
. tests/expect.sh
list='Filesystem     1024-blocks      Used Available Capacity Mounted on
proc                     0         0         0       - /proc
/dev/sda1         41152736  38938244   2092348      95% /
systemd-1                0         0         0       - /proc/sys/fs'
status=0
got=$(printf '%s\n' "$list" | sh bin/disk-alert.sh 90 2>&1) || status=$?
expect "the warning alone" "WARN / is at 95%" "$got"
expect "the exit status" 1 "$status"
