//! Prints docs/compatibility.md: every selected operation of every service, whether it is served, and the tests that exercise it. The
//! first comes from the table of handlers, the second from the tests' source (`tests/exercised.py`, whose output is the file named by the
//! first argument); only the remarks are written by hand, here. With `--strict`, a served operation that no test calls is an error.
//! `cargo xtask coverage` runs it.

use std::io::Write;

use puffer_shapes::SERVICES;

mod exercised;
mod remarks;

const HEAD: &str = "\
<!-- Written by `cargo xtask coverage` from the table of handlers and the tests' source. Change crates/api/examples/coverage/remarks.rs
or the code instead. -->

# Operations

What a server of this version answers. An operation is listed if Puffer has its shapes (`models/select.toml`).

* **✓** it is served: the answer tells what really happened, or what is really there.
* **–** it is not served: the answer is `InvalidAction`. So is the answer to any operation that is not listed.

Beside it stand one or two tests that call the operation on a real server, those that are most about it, by file and name
(`tests/wire`, `tests/system`).

A parameter that Puffer knows but does not act on is refused by name with an error such as `UnsupportedOperation` or
`ValidationError`; it is never stored and ignored. The remarks name the most important ones.
";

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path =
        arguments.next().ok_or_else(|| std::io::Error::other("name what tests/exercised.py printed"))?;
    let strict = arguments.next().is_some_and(|a| a == "--strict");
    let tests: Vec<exercised::Test> = serde_json::from_slice(&std::fs::read(path)?)?;
    let registry = puffer_api::registry();
    let mut untested = Vec::new();
    let (mut summary, mut tables) = (String::new(), String::new());
    for service in SERVICES {
        let title = remarks::title(service.name);
        let (mut n_served, mut n_tested) = (0, 0);
        tables += &format!("\n## {title}\n");
        if let Some(paragraph) = remarks::service(service.name) {
            tables += &format!("\n{paragraph}\n");
        }
        tables += "\n| operation | | tests | remarks |\n|---|---|---|---|\n";
        for operation in service.operations {
            let mut names = Vec::new();
            let mark = if registry.serves(operation) {
                names = exercised::named(&tests, service, operation.name);
                n_served += 1;
                n_tested += usize::from(!names.is_empty());
                if names.is_empty() {
                    untested.push(format!("{title}: {}", operation.name));
                }
                "✓"
            } else {
                "–"
            };
            let names: Vec<_> = names.iter().map(|n| format!("`{n}`")).collect();
            let remark = remarks::operation(service.name, operation.name).unwrap_or_default();
            tables += &format!("| {} | {mark} | {} | {remark} |\n", operation.name, names.join("<br>"));
        }
        summary += &format!(
            "| {title} | {} | {} | {n_served} | {n_tested} |\n",
            service.version,
            service.operations.len()
        );
    }
    if strict && !untested.is_empty() {
        return Err(std::io::Error::other(format!("served, but no test calls it: {}", untested.join(", "))));
    }
    let head = "\n| service | API version | listed | served | tested |\n|---|---|--:|--:|--:|\n";
    std::io::stdout().write_all(format!("{HEAD}{head}{summary}{tables}").as_bytes())
}
