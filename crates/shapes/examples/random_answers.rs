//! Prints one random answer of every operation in every protocol, a JSON object per line: what goes over the wire and what it
//! means. `tests/wire/test_answers.py` lets botocore's own parsers read them.

#[path = "../tests/wire/random.rs"]
mod random;

use std::io::Write;

use puffer_wire::{Protocol, Reply, json};

fn main() -> std::io::Result<()> {
    let seed = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut out = std::io::stdout().lock();
    for service in puffer_shapes::SERVICES {
        for (operation, protocol) in
            service.operations.iter().flat_map(|o| service.protocols.iter().map(move |p| (*o, *p)))
        {
            let mut output = (operation.new_output)();
            random::Random(seed).fill(&mut *output, 0, true);
            let reply = Reply::success(protocol, operation, &*output, "11111111-2222-3333-4444-555555555555");
            let mut meaning = Vec::new();
            json::encode(&*output, &mut meaning);
            let line = serde_json::json!({
                "service": service.name,
                "operation": operation.name,
                "protocol": match protocol {
                    Protocol::Query => "query",
                    Protocol::Ec2 => "ec2",
                    Protocol::Json { .. } => "json",
                    Protocol::Cbor => "smithy-rpc-v2-cbor",
                },
                "body": reply.body.iter().map(|b| format!("{b:02x}")).collect::<String>(),
                "meaning": serde_json::from_slice::<serde_json::Value>(&meaning)?,
            });
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
