#!/bin/sh
# Runs the instance's user data, once per instance id, when the network is up.
#
# The user data comes from /var/lib/puffer/user-data if the driver put it there, else from instance metadata (version
# 2). Scripts (#!) are run; cloud-config and MIME multi-part need python3 in the image and are handled by cloud-config.py.
# Output goes to /var/log/cloud-init-output.log and to the console, as cloud-init's does.
set -u
dir=/var/lib/puffer
log=/var/log/cloud-init-output.log
metadata=${PUFFER_METADATA:-http://169.254.169.254}/latest

say() { echo "puffer: $*"; }

# fetch METHOD PATH HEADER: the body on standard output; fails on any HTTP error.
fetch() {
  if command -v curl >/dev/null 2>&1; then
    curl -fsS --connect-timeout 2 --max-time 10 -X "$1" -H "$3" "$metadata/$2"
  elif command -v python3 >/dev/null 2>&1; then
    python3 -c '
import sys, urllib.request as u
method, url, header = sys.argv[1:]
name, value = header.split(": ", 1)
sys.stdout.buffer.write(u.urlopen(u.Request(url, method=method, headers={name: value}), timeout=10).read())
' "$1" "$metadata/$2" "$3"
  else
    return 1
  fi
}

token() { fetch PUT api/token "X-aws-ec2-metadata-token-ttl-seconds: 300"; }
get() { fetch GET "$1" "X-aws-ec2-metadata-token: $token"; }

# Leaves the user data in $dir/user-data and prints the instance's id.
prepare() {
  if [ -s $dir/instance-id ]; then
    cat $dir/instance-id
    return
  fi
  token=$(token 2>/dev/null) || return 1
  rm -f $dir/user-data
  (umask 077 && get user-data >$dir/user-data 2>/dev/null) || rm -f $dir/user-data
  get meta-data/instance-id
}

run_user_data() {
  case $(head -c 2 $dir/user-data | od -An -tx1 | tr -d ' \n') in
  1f8b)
    (umask 077 && gzip -dc <$dir/user-data >$dir/user-data.plain) || return 1
    ;;
  *) (umask 077 && cat $dir/user-data >$dir/user-data.plain) ;;
  esac
  case $(head -c 2 $dir/user-data.plain) in
  '#!')
    chmod 700 $dir/user-data.plain
    (cd / && $dir/user-data.plain)
    ;;
  *)
    if command -v python3 >/dev/null 2>&1 && [ -f /usr/lib/puffer/cloud-config.py ]; then
      python3 /usr/lib/puffer/cloud-config.py $dir/user-data.plain
    else
      say "the user data is not a #! script, and this image has no python3 to read it as cloud-config: not run"
      return 1
    fi
    ;;
  esac
}

main() {
  status=0
  run_user_data || status=$?
  rm -f $dir/user-data.plain
  if [ $status -eq 0 ]; then
    say "user data finished"
  else
    say "user data ended with status $status"
  fi
}

mkdir -p $dir /var/log
id=$(prepare) || {
  say "no instance metadata: no user data is run" >/dev/console 2>/dev/null
  exit 0
}
[ "$(cat $dir/first-boot-done 2>/dev/null)" != "$id" ] || exit 0
# Before the run: a script that reboots the instance is not run again by that.
printf '%s\n' "$id" >$dir/first-boot-done
[ -s $dir/user-data ] || exit 0
(umask 077 && : >>$log)
# A script may leave daemons that hold its output open, so no pipe decides when we are done.
fifo=$dir/output
rm -f $fifo
mkfifo -m 600 $fifo
if [ -w /dev/console ]; then tee -a $log <$fifo >/dev/console 2>/dev/null & else cat <$fifo >>$log & fi
main >$fifo 2>&1
rm -f $fifo
exit 0
