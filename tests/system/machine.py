"""What a machine holds of one Puffer server with containers, read from the kernel and not from the server."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

INIT = """#!/bin/sh
trap 'exit 0' TERM
httpd -p 80 -h /www
[ -x /on-boot ] && . /on-boot
while :; do sleep 1000 & wait $!; done
"""
UIDS = pathlib.Path("/run/puffer/uids")
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def need_containers():
    """Skips, loudly, where the machine runs no containers for us."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: containers need root")
    if not shutil.which("busybox"):
        pytest.skip("NOT TESTED: apt-get install busybox-static")


def busybox_image(directory, on_boot=""):
    """A root file system of three megabytes whose init serves `ok` on port 80 and heeds SIGTERM."""
    root = pathlib.Path(directory)
    for name in ["bin", "sbin", "etc", "root", "proc", "sys", "dev", "tmp", "run", "var", "www"]:
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet not in ("busybox", "init"):
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "www/index.html").write_text("ok\n")
    for path, text in [("sbin/init", INIT), ("on-boot", on_boot)]:
        (root / path).write_text(text)
        (root / path).chmod(0o755)
    return root


def fnv(data, bits):
    """FNV-1a: what the server's names on the machine are made of."""
    value, prime = (0x811C9DC5, 0x01000193) if bits == 32 else (0xCBF29CE484222325, 0x100000001B3)
    for byte in data:
        value = ((value ^ byte) * prime) % (1 << bits)
    return value


def read(path):
    """A file of /proc or /sys, which may vanish at any moment."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def tool(*command):
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout or b"[]")


class Machine:
    """The traces of the server of one data directory."""

    def __init__(self, data_dir):
        self.data_dir = pathlib.Path(data_dir).resolve()
        self.instances = self.data_dir / "instances"
        self.group = f"puffer-{fnv(os.fsencode(self.instances), 32):08x}"
        tag = fnv(os.fsencode(self.data_dir), 64)
        self.tag = (tag ^ tag >> 16 ^ tag >> 32 ^ tag >> 48) & 0xFFFF

    def interface(self, instance_id):
        return f"pf{self.tag:04x}i{fnv(instance_id.encode(), 64) & 0xFFFFFFFF:08x}"

    def processes(self):
        """Pid → (v2 group below the server's, command line) of what runs in the server's groups; zombies are nobody."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            groups = re.findall(rf"/{self.group}/(\S+)", read(entry / "cgroup"))
            if groups and "State:\tZ" not in read(entry / "status"):
                found[int(entry.name)] = (groups[-1], read(entry / "cmdline").replace("\0", " "))
        return found

    def commands(self):
        """Processes that name the data directory on their command line: server and data plane."""
        lines = {e.name: read(e / "cmdline").replace("\0", " ") for e in pathlib.Path("/proc").iterdir() if e.name.isdigit()}
        return sorted(text for text in lines.values() if f"{self.data_dir}" in text and "puffer" in text.split(" ")[0])

    def cgroups(self):
        """Ids of instances that have a group in any hierarchy, and the hierarchies' own directories of this server."""
        servers = {g for depth in ("*", "*/*") for g in CGROUPS.glob(f"{depth}/{self.group}")}
        servers |= set(CGROUPS.glob(self.group))
        ids = {g.name for s in servers for g in s.iterdir() if g.is_dir() and g.name.startswith("i-")}
        return ids, sorted(map(str, servers))

    def mounts(self):
        return [line for line in read(pathlib.Path("/proc/self/mountinfo")).splitlines() if f"{self.data_dir}/" in line]

    def directories(self):
        return {p.name for p in self.instances.glob("i-*")} if self.instances.exists() else set()

    def unfinished(self):
        return sorted(str(p) for p in self.data_dir.rglob("*") if p.name.startswith(".making-") or p.name.endswith(".new"))

    def links(self):
        """Names of the host's interfaces of this server: (bridges, instances' ends)."""
        names = {link["ifname"] for link in tool("ip", "-json", "link", "show")}
        mine = {n for n in names if re.match(rf"pf{self.tag:04x}[si]", n)}
        bridges = {n for n in mine if n[6] == "s"}
        return bridges, mine - bridges

    def node_addresses(self):
        """The load balancers' addresses that the bridges hold."""
        shown = tool("ip", "-json", "-4", "address", "show", "type", "bridge")
        mine = [a for link in shown if link.get("ifname", "").startswith(f"pf{self.tag:04x}s") for a in link["addr_info"]]
        return [a["local"] for a in mine if a["prefixlen"] == 32]

    def routes(self):
        metric = 0x70000000 | self.tag
        routes = tool("ip", "-json", "-4", "route", "show", "type", "blackhole")
        return [r["dst"] for r in routes if r.get("metric") == metric]

    def tables(self):
        listed = tool("nft", "--json", "list", "tables")["nftables"]
        return [e["table"]["family"] for e in listed if e.get("table", {}).get("name") == f"puffer_{self.tag:04x}"]

    def uid_ranges(self):
        """Instances that hold a range of uids in the machine's register."""
        links = [os.readlink(link) for link in UIDS.iterdir() if link.is_symlink()] if UIDS.exists() else []
        return sorted(pathlib.Path(t).name for t in links if t.startswith(f"{self.instances}/"))

    def inits(self):
        """Instance → pid of its init, as the driver noted it, if that lives in the instance's group."""
        processes, found = self.processes(), {}
        for directory in self.instances.glob("i-*"):
            run = json.loads(read(directory / "run.json") or "{}")
            pid = run.get("init", {}).get("pid")
            if pid in processes and processes[pid][0].split("/")[0] == directory.name:
                found[directory.name] = pid
        return found

    def namespaces(self):
        """Network namespaces that processes of the server's instances are in."""
        spaces = set()
        for pid, (group, _) in self.processes().items():
            if group.startswith("i-"):
                try:
                    spaces.add(os.readlink(f"/proc/{pid}/ns/net"))
                except OSError:
                    pass
        return spaces

    def address_inside(self, pid):
        """Addresses of eth0 as the instance has them."""
        shown = tool("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-json", "-4", "address", "show", "eth0")
        return [a["local"] for link in shown for a in link["addr_info"]]

    def everything(self):
        """All traces in one, empty where nothing is left."""
        ids, groups = self.cgroups()
        traces = {
            "processes": self.processes(), "commands": self.commands(), "instances' cgroups": ids, "server's cgroups": groups,
            "mounts": self.mounts(), "directories": self.directories(), "unfinished": self.unfinished(),
            "links": set().union(*self.links()), "routes": self.routes(), "tables": self.tables(), "uids": self.uid_ranges(),
        }
        return {name: found for name, found in traces.items() if found}
