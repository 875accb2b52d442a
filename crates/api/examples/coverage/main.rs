//! Prints docs/compatibility.md: every selected operation of every service, and whether it is served. The first
//! column of truth is the table of handlers; only the remarks are written by hand, here. `cargo xtask coverage` runs it.

use std::io::Write;

use puffer_shapes::SERVICES;

mod remarks;

const HEAD: &str = "\
<!-- Written by `cargo xtask coverage` from the table of handlers. Change crates/api/examples/coverage/remarks.rs or the code instead. -->

# Operations

What a server of this version answers. An operation is listed if Puffer has its shapes (`models/select.toml`).

* **✓** it is served: the answer tells what really happened, or what is really there.
* **–** it is not served: the answer is `InvalidAction`. So is the answer to any operation that is not listed.

A parameter that Puffer knows but does not act on is refused by name with an error such as `UnsupportedOperation` or
`ValidationError`; it is never stored and ignored. The remarks name the most important ones.
";

fn main() -> std::io::Result<()> {
    let registry = puffer_api::registry();
    let mut text = HEAD.to_owned();
    text += "\n| service | API version | served | listed |\n|---|---|--:|--:|\n";
    for service in SERVICES {
        let n_served = service.operations.iter().filter(|o| registry.serves(o)).count();
        let title = remarks::title(service.name);
        text += &format!("| {title} | {} | {n_served} | {} |\n", service.version, service.operations.len());
    }
    for service in SERVICES {
        text += &format!("\n## {}\n", remarks::title(service.name));
        if let Some(paragraph) = remarks::service(service.name) {
            text += &format!("\n{paragraph}\n");
        }
        text += "\n| operation | | remarks |\n|---|---|---|\n";
        for operation in service.operations {
            let mark = if registry.serves(operation) { "✓" } else { "–" };
            let remark = remarks::operation(service.name, operation.name).unwrap_or_default();
            text += &format!("| {} | {mark} | {remark} |\n", operation.name);
        }
    }
    std::io::stdout().write_all(text.as_bytes())
}
