#!/usr/bin/env bash
# Makes the lab's base image and prints its id on the last line.
#
#   labs/l0/image.sh container DATA_DIR    # Debian with systemd, sshd, Flask, gunicorn and the app as a service
#   labs/l0/image.sh process DATA_DIR      # the app and a virtual environment, for machines without privileges
#   labs/l0/image.sh root                  # prints the directory of the first one's root file system; needs LAB_CACHE
#
# Variables:
#   PUFFER       the puffer program                                  (puffer)
#   LAB_CACHE    keeps what takes long to make                       (no cache)
set -euo pipefail

compute=${1:?"container, process or root"}
[ "$compute" = root ] || data_dir=${2:?"the server's data directory"}
puffer=${PUFFER:-puffer}
here=$(cd "$(dirname "$0")" && pwd)
cache=${LAB_CACHE:-}
if [ -z "$cache" ]; then
  [ "$compute" != root ] || { echo "LAB_CACHE is not set" >&2; exit 2; }
  cache=$(mktemp -d)
  trap 'rm -rf "$cache"' EXIT
fi
mkdir -p "$cache"

# A change of these files makes a new image.
version=$(cat "$here/app.py" "$here/app.service" "$here/image.sh" | sha256sum | cut -c1-12)

container_root() {
  local store=$cache/container-$version id_file=$cache/container-$version.id
  if [ ! -s "$id_file" ] || [ ! -d "$store/images/$(cat "$id_file")" ]; then
    "$puffer" image build --data-dir "$store" --name counter-base \
      --package systemd-sysv,dbus,udev,python3-flask,gunicorn,iproute2,openssh-server,curl \
      --copy "$here/app.py:/srv/app/" --copy "$here/app.service:/etc/systemd/system/" \
      --hook 'chroot "$1" systemctl enable app.service' \
      --hook 'rm -f "$1"/etc/ssh/ssh_host_*_key*' \
      --copy "$here/ssh-host-keys.service:/etc/systemd/system/" \
      --hook 'chroot "$1" systemctl enable ssh-host-keys.service' | tail -n 1 >"$id_file.new"
    mv "$id_file.new" "$id_file"
  fi
  echo "$store/images/$(cat "$id_file")/root"
}

container_image() {
  local root
  root=$(container_root)
  "$puffer" image import --data-dir "$data_dir" --name counter-base \
    --description "Lab L0: Flask and gunicorn on Debian" "$root" | tail -n 1
}

process_image() {
  local bundle=$cache/process-$version command
  if [ ! -f "$bundle/puffer-image.json" ]; then
    rm -rf "$bundle"
    mkdir -p "$bundle"
    cp "$here/app.py" "$bundle/"
    if python3 -m venv "$bundle/venv" >&2 &&
      "$bundle/venv/bin/pip" install --quiet --disable-pip-version-check 'flask==3.1.*' 'gunicorn==23.*' >&2; then
      command='"venv/bin/python", "-m", "gunicorn", "app:app", "-b", "${HOST}:${PORT}", "--threads", "8", "--timeout", "120"'
    else
      echo "Flask and gunicorn cannot be installed: the app runs on Python's own server" >&2
      rm -rf "$bundle/venv"
      mkdir "$bundle/venv"
      command='"python3", "app.py"'
    fi
    cat >"$bundle/puffer-image.json" <<JSON
{
  "kind": "process",
  "command": [$command],
  "environment": {"PYTHONDONTWRITEBYTECODE": "1"},
  "port": 80,
  "shared": ["venv"]
}
JSON
  fi
  "$puffer" image import --data-dir "$data_dir" --name counter-base \
    --description "Lab L0: Flask and gunicorn as plain processes" "$bundle" | tail -n 1
}

case $compute in
container) container_image ;;
root) container_root ;;
process) process_image ;;
*)
  echo "there is no lab image for $compute instances" >&2
  exit 2
  ;;
esac
