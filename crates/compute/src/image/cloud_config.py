"""Acts on user data that is not a script: #cloud-config (a common subset) and MIME multi-part.

Keys: hostname, fqdn, write_files (path, content, encoding, owner, permissions, append), ssh_authorized_keys,
users (name, shell, groups, sudo, ssh_authorized_keys), runcmd, bootcmd. Any other key is named on the console and has no
effect. YAML is read by PyYAML where the image has it, else by the reader below, which knows block and flow
collections, quoted and block scalars, and comments: what cloud-configs are written in.
"""

import base64
import gzip
import os
import subprocess
import sys


def say(text):
    print("puffer: " + text, flush=True)


class YamlError(Exception):
    pass


class Reader:
    """A reader for the subset of YAML named above."""

    def __init__(self, text):
        self.lines = text.replace("\t", "    ").split("\n")
        self.at = 0

    def peek(self):
        """Indent and content of the next line that counts; None at the end."""
        while self.at < len(self.lines):
            content = strip_comment(self.lines[self.at]).rstrip()
            if content.strip() and content.strip() not in ("---", "..."):
                return len(content) - len(content.lstrip()), content.strip()
            self.at += 1
        return None

    def block(self, indent):
        """The collection or scalar that begins at the next line, indented at least this far."""
        head = self.peek()
        if head is None or head[0] < indent:
            return None
        if head[1] == "-" or head[1].startswith("- "):
            return self.sequence(head[0])
        if split_key(head[1]):
            return self.mapping(head[0])
        self.at += 1
        return scalar(head[1])

    def sequence(self, indent):
        items = []
        while True:
            head = self.peek()
            if head is None or head[0] != indent or not (head[1] == "-" or head[1].startswith("- ")):
                return items
            rest = head[1][1:].lstrip()
            if not rest:
                self.at += 1
                items.append(self.block(indent + 1))
            elif rest[0] not in "|>[{" and (split_key(rest) or rest.startswith("- ")):
                # The item's collection begins on the dash's own line: read it as if it stood alone.
                inner = indent + len(head[1]) - len(rest)
                self.lines[self.at] = " " * inner + self.lines[self.at][inner:]
                items.append(self.block(inner))
            else:
                items.append(self.value(rest, indent))

    def mapping(self, indent):
        found = {}
        while True:
            head = self.peek()
            if head is None or head[0] != indent:
                return found
            pair = split_key(head[1])
            if not pair:
                raise YamlError("line %d is not understood: %s" % (self.at + 1, head[1]))
            found[pair[0]] = self.value(pair[1], indent)

    def value(self, text, indent):
        """What follows a key or a dash on its line, or below it."""
        if text and text[0] in "|>":
            self.at += 1
            return self.text_block(text, indent)
        if not text:
            self.at += 1
            head = self.peek()
            # A sequence may stand at its key's own indent.
            if head and head[0] == indent and head[1].startswith("-"):
                return self.sequence(indent)
            return self.block(indent + 1)
        self.at += 1
        if text[0] in "[{":
            while not balanced(text) and self.at < len(self.lines):
                text += " " + strip_comment(self.lines[self.at]).strip()
                self.at += 1
            value, rest = flow(text)
            if rest.strip():
                raise YamlError("not understood: " + rest)
            return value
        return scalar(text)

    def text_block(self, style, indent):
        lines, width = [], None
        for digit in style:
            if digit.isdigit():
                width = indent + int(digit)
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.strip():
                depth = len(line) - len(line.lstrip())
                if width is None:
                    width = depth
                if depth < width or width <= indent:
                    break
                lines.append(line[width:])
            else:
                lines.append("")
            self.at += 1
        n_empty = 0
        while lines and not lines[-1]:
            lines.pop()
            n_empty += 1
        if style[0] == "|":
            text = "\n".join(lines)
        else:
            text = "\n\n".join(" ".join(part.split("\n")) for part in "\n".join(lines).split("\n\n"))
        if "-" in style:
            return text
        return text + "\n" + ("\n" * n_empty if "+" in style else "")


def strip_comment(line):
    quote = None
    for i, c in enumerate(line):
        if quote:
            quote = None if c == quote else quote
        elif c in "\"'" and (i == 0 or line[i - 1] in " [{,:-"):
            quote = c
        elif c == "#" and (i == 0 or line[i - 1] == " "):
            return line[:i]
    return line


def split_key(text):
    """`key: rest` outside quotes; None if the text is no mapping entry."""
    if text[0] in "\"'":
        end = text.find(text[0], 1)
        if end > 0 and text[end + 1 : end + 2] == ":":
            return text[1:end], text[end + 2 :].strip()
        return None
    if text[0] in "[{|>":
        return None
    if text.endswith(":") and ": " not in text:
        return text[:-1], ""
    key, colon, rest = text.partition(": ")
    return (key.strip(), rest.strip()) if colon else None


def balanced(text):
    depth, quote = 0, None
    for c in text:
        if quote:
            quote = None if c == quote else quote
        elif c in "\"'":
            quote = c
        else:
            depth += (c in "[{") - (c in "]}")
    return depth <= 0 and quote is None


def flow(text):
    """A flow value at the start of the text, and what follows it."""
    text = text.lstrip()
    if text[:1] == "[":
        items, rest = [], text[1:].lstrip()
        while rest[:1] != "]":
            item, rest = flow(rest)
            items.append(item)
            rest = separator(rest, "]")
        return items, rest[1:]
    if text[:1] == "{":
        found, rest = {}, text[1:].lstrip()
        while rest[:1] != "}":
            key, rest = flow(rest)
            if rest.lstrip()[:1] != ":":
                raise YamlError("not understood: " + rest)
            found[key], rest = flow(rest.lstrip()[1:])
            rest = separator(rest, "}")
        return found, rest[1:]
    if text[:1] in ("'", '"'):
        end = 1
        while end < len(text) and text[end] != text[0]:
            end += 2 if text[end] == "\\" and text[0] == '"' else 1
        return scalar(text[: end + 1]), text[end + 1 :]
    end = 0
    while end < len(text) and text[end] not in ",]}" and not (text[end] == ":" and text[end + 1 : end + 2] in (" ", "")):
        end += 1
    if end == 0:
        raise YamlError("not understood: " + text)
    return scalar(text[:end].strip()), text[end:]


def separator(rest, closing):
    rest = rest.lstrip()
    if rest[:1] == ",":
        return rest[1:].lstrip()
    if rest[:1] != closing:
        raise YamlError("%s expected: %s" % (closing, rest))
    return rest


def scalar(text):
    if len(text) >= 2 and text[0] == text[-1] == '"':
        escapes = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "e": "\x1b"}
        out, chars = "", iter(text[1:-1])
        for c in chars:
            if c == "\\":
                c = next(chars, "")
                c = escapes.get(c, c)
            out += c
        return out
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if text in ("null", "~", ""):
        return None
    if text.lower() in ("true", "yes", "on"):
        return True
    if text.lower() in ("false", "no", "off"):
        return False
    # Numbers stay text: permissions such as 0644 mean their digits.
    return text


def load(text):
    try:
        import yaml

        # The base loader leaves every scalar as text, as the reader here does for numbers.
        return yaml.load(text, Loader=yaml.BaseLoader)
    except ImportError:
        return Reader(text).block(0)


def is_true(value):
    return str(value).lower() in ("true", "yes", "on", "1")


def write_file(entry):
    content = entry.get("content") or ""
    encoding = str(entry.get("encoding") or "").lower()
    data = content.encode()
    if encoding in ("b64", "base64", "gz+b64", "gz+base64", "gzip+base64"):
        data = base64.b64decode(data)
    if encoding.startswith("gz"):
        data = gzip.decompress(data)
    path = entry["path"]
    os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
    mode = int(str(entry.get("permissions") or "0644"), 8)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if is_true(entry.get("append")) else os.O_TRUNC)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)
    os.chmod(path, mode)
    if entry.get("owner"):
        run(["chown", str(entry["owner"]), path])


def run(command):
    """A list is executed, a text is for the shell. Says whether it succeeded."""
    if isinstance(command, list):
        words = [str(word) for word in command if word is not None]
    else:
        words = ["/bin/sh", "-c", str(command)]
    try:
        status = subprocess.call(words, cwd="/")
    except OSError as error:
        say("%s: %s" % (words[0], error))
        return False
    if status:
        say("%s ended with status %d" % (words[0] if isinstance(command, list) else command, status))
    return status == 0


def authorize(user, keys):
    import pwd

    account = pwd.getpwnam(user)
    folder = os.path.join(account.pw_dir, ".ssh")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, "authorized_keys")
    present = open(path).read() if os.path.exists(path) else ""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
        if present and not present.endswith("\n"):
            file.write("\n")
        for key in keys:
            if key not in present:
                file.write(key + "\n")
    for name in (folder, path):
        os.chown(name, account.pw_uid, account.pw_gid)


def add_user(entry):
    if not isinstance(entry, dict):
        if entry != "default":
            add_user({"name": entry})
        return
    name = entry["name"]
    command = ["useradd", "--create-home", "--shell", entry.get("shell") or "/bin/sh"]
    groups = entry.get("groups")
    if groups:
        command += ["--groups", groups if isinstance(groups, str) else ",".join(groups)]
    run(command + [name])
    sudo = entry.get("sudo")
    if sudo and not (sudo is False or str(sudo).lower() == "false") and os.path.isdir("/etc/sudoers.d"):
        rules = sudo if isinstance(sudo, list) else [sudo]
        content = "".join("%s %s\n" % (name, rule) for rule in rules)
        write_file({"path": "/etc/sudoers.d/90-puffer-" + name, "content": content, "permissions": "0440"})
    authorize(name, entry.get("ssh_authorized_keys") or [])


def hostname(config):
    name = config.get("fqdn") or config.get("hostname")
    write_file({"path": "/etc/hostname", "content": name + "\n"})
    run(["hostname", name])


def config(text):
    """Acts on one cloud-config; says whether all of it worked."""
    data = load(text) or {}
    if not isinstance(data, dict):
        raise YamlError("a cloud-config is a mapping")
    good = True
    commands = lambda key: all([run(command) for command in data.get(key) or []])
    steps = [
        (("hostname", "fqdn"), lambda: hostname(data)),
        (("bootcmd",), lambda: commands("bootcmd")),
        (("users",), lambda: [add_user(entry) for entry in data["users"] or []]),
        (("write_files",), lambda: [write_file(entry) for entry in data["write_files"] or []]),
        (("ssh_authorized_keys",), lambda: authorize("root", data["ssh_authorized_keys"] or [])),
        (("runcmd",), lambda: commands("runcmd")),
    ]
    for keys, act in steps:
        if any(key in data for key in keys):
            try:
                good = act() is not False and good
            except (OSError, KeyError, ValueError, TypeError) as error:
                say("%s: %r" % (keys[0], error))
                good = False
    known = {key for keys, _ in steps for key in keys}
    for key in sorted(set(data) - known):
        say("cloud-config key %s is not supported and has no effect" % key)
    return good


def script(data):
    path = "/var/lib/puffer/part"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "wb") as file:
        file.write(data)
    good = run([path])
    os.remove(path)
    return good


def part(data):
    """One part, or user data that is a single one."""
    if data.startswith(b"#!"):
        return script(data)
    first = data.lstrip().split(b"\n", 1)[0].strip()
    if first == b"#cloud-config":
        return config(data.decode())
    say("user data of this kind is not supported and not run: " + repr(first[:60].decode("utf-8", "replace")))
    return False


def main(path):
    data = open(path, "rb").read()
    if data[:13].lower() == b"content-type:" or data[:13].lower() == b"mime-version:":
        import email

        message = email.message_from_bytes(data)
        results = [part(p.get_payload(decode=True)) for p in message.walk() if not p.is_multipart()]
        return all(results)
    return part(data)


if __name__ == "__main__":
    try:
        sys.exit(0 if main(sys.argv[1]) else 1)
    except (YamlError, UnicodeDecodeError) as error:
        say("the user data cannot be read: %s" % error)
        sys.exit(1)
