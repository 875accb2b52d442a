"""Prints which operations each test calls, read from the tests' source: what `cargo xtask coverage` names in docs/compatibility.md.

    python3 tests/exercised.py        prints JSON: [{"test", "calls": [[service, operation], …], "helped": […]}, …]

`calls` is what the test's own text does, `helped` what its helpers and fixtures do for it. An operation is named by its letters alone,
in lower case. The service is that of the client it is called on: one of conftest's fixtures, an attribute of that name, or what
`….client("name")` gave; empty if the text does not say. Of a raw request, it is the version of the API.
"""

import ast
import functools
import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
SERVICES = {"autoscaling", "cloudwatch", "ec2", "elb", "elbv2", "sns", "sqs", "ssm", "sts"}
# What a class does without being asked by name.
IMPLIED = ("__init__", "__enter__", "__exit__")
ACTION, VERSION = re.compile(r"\bAction=(\w+)"), re.compile(r"\bVersion=(\d{4}-\d\d-\d\d)")


def letters(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def text(node):
    """The constant text of a literal; what an f-string puts in is left out."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) or "" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
        return node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
    return None


def is_fixture(function):
    return any("fixture" in ast.unparse(d) for d in function.decorator_list)


def client_made(node):
    """The service in `server.client("autoscaling")` or `boto3.client(…)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "client":
        return (text(node.args[0]) or "") if node.args else ""
    return None


class Module:
    """A file of tests or of what they share."""

    def __init__(self, path):
        tree = ast.parse(path.read_text())
        self.functions, self.methods, self.classes, self.imports = {}, {}, {}, {}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = [f for f in node.body if isinstance(f, ast.FunctionDef)]
                for method in self.classes[node.name]:
                    self.methods.setdefault(method.name, []).append(method)
            elif isinstance(node, ast.ImportFrom):
                self.imports.update({alias.asname or alias.name: (node.module, alias.name) for alias in node.names})
        # Fixtures that only make a client, such as one without boto3's own checks.
        self.clients = {}
        for function in filter(is_fixture, self.functions.values()):
            for node in ast.walk(function):
                if isinstance(node, (ast.Return, ast.Yield)) and client_made(node.value) is not None:
                    self.clients[function.name] = client_made(node.value)


@functools.cache
def module(name):
    found = [p for p in (HERE / f"{name}.py", *HERE.glob(f"*/{name}.py")) if p.is_file()]
    return Module(found[0]) if found else None


def resolve(home, name):
    """The module and functions a name in `home` stands for: a function, or what a class does by itself."""
    if name in home.functions:
        return home, [home.functions[name]]
    if name in home.classes:
        return home, [f for f in home.classes[name] if f.name in IMPLIED]
    where, there = home.imports.get(name, (None, None))
    other = module(where) if where else None
    return resolve(other, there) if other else (home, [])


def service_of(node, clients):
    """Which service's client an expression is; empty if it is one of an unknown service, None if it is none."""
    if isinstance(node, ast.Name):
        return clients.get(node.id, node.id if node.id in SERVICES else "" if node.id.endswith("client") else None)
    if isinstance(node, ast.Attribute):
        return node.attr if node.attr in SERVICES else "" if node.attr == "client" else None
    return client_made(node)


def assigned_clients(function, home):
    clients = dict(home.clients)
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            service = service_of(node.value, clients)
            if service:
                clients[node.targets[0].id] = service
    return clients


def calls(function, home):
    """Operations in a function's own text."""
    clients, found = assigned_clients(function, home), set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and (service := service_of(node.value, clients)) is not None:
            found.add((service, letters(node.attr)))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr == "get_paginator" and node.args:
                found.add((service_of(node.func.value, clients) or "", letters(text(node.args[0]) or "")))
            # The AWS CLI: the service's and the operation's name, one after the other.
            words = [text(a) for a in node.args]
            found |= {(a, letters(b)) for a, b in zip(words, words[1:]) if a in SERVICES and b and "-" in b}
        if isinstance(node, ast.Dict):
            given = {text(k): text(v) for k, v in zip(node.keys, node.values) if k}
            if given.get("Action") and given.get("Version"):
                found.add((given["Version"], letters(given["Action"])))
        literal = text(node)
        if literal and (action := ACTION.search(literal)) and (version := VERSION.search(literal)):
            found.add((version[1], letters(action[1])))
    return found


def helpers(function, home):
    """The functions that a function's own text names, with the modules they are in."""
    names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    if function.name.startswith("test_") or is_fixture(function):
        names |= {a.arg for a in function.args.args}
    for name in names:
        where, functions = resolve(home, name)
        yield from ((where, f) for f in functions)
    attributes = {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)}
    homes = {home, *filter(None, (module(where) for where, _ in home.imports.values() if where))}
    for where in homes:
        yield from ((where, m) for name in attributes & set(where.methods) for m in where.methods[name])


def helped(function, home):
    """Operations of all that a function calls, and of all that those call."""
    found, seen, left = set(), {id(function)}, list(helpers(function, home))
    while left:
        where, one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            found |= calls(one, where)
            left += helpers(one, where)
    return found


def tests():
    for path in sorted(HERE.glob("*/test_*.py")):
        home = module(path.stem)
        # Fixtures of conftest are there without an import.
        shared = module("conftest")
        home.imports = {**{n: ("conftest", n) for n in shared.functions}, **home.imports}
        for name, function in home.functions.items():
            if name.startswith("test_"):
                own = calls(function, home)
                yield {"test": f"{path.stem}::{name}", "calls": sorted(own), "helped": sorted(helped(function, home) - own)}


if __name__ == "__main__":
    print(json.dumps(list(tests()), indent=1))
