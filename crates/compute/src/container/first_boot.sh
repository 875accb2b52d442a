#!/bin/sh
# Runs the instance's user data once, when the network is up. Put in by the container driver.
set -u
dir=/var/lib/puffer
log=/var/log/cloud-init-output.log
id=$(cat $dir/instance-id 2>/dev/null) || exit 0
[ "$(cat $dir/first-boot-done 2>/dev/null)" != "$id" ] || exit 0
printf '%s\n' "$id" >$dir/first-boot-done
[ -s $dir/user-data ] || exit 0
case $(head -c 2 $dir/user-data) in
'#!') ;;
*) echo "puffer: user data is not a script; not run" >/dev/console; exit 0 ;;
esac
mkdir -p /var/log
cp $dir/user-data $dir/user-data.run
chmod 700 $dir/user-data.run
fifo=$dir/output
rm -f $fifo
mkfifo -m 600 $fifo
tee -a $log <$fifo >/dev/console 2>/dev/null &
$dir/user-data.run >$fifo 2>&1
status=$?
# Not waiting for tee: a daemon that the script left behind may hold the pipe for ever.
rm -f $fifo $dir/user-data.run
[ $status -eq 0 ] || echo "puffer: user data ended with status $status" >/dev/console
exit $status
