//! What one side encodes, the other decodes: every operation of every service, in every protocol it is served in.

use proptest::prelude::*;
use puffer_shapes::SERVICES;
use puffer_wire::query::Params;
use puffer_wire::{Form, OperationSchema, Protocol, Reply, decode_input, decode_output, encode_input};

use super::random::Random;

fn each(check: impl Fn(Protocol, &'static OperationSchema)) {
    for service in SERVICES {
        for operation in service.operations {
            for protocol in service.protocols {
                check(*protocol, operation);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn requests(seed: u64) {
        each(|protocol, operation| {
            let mut input = (operation.new_input)();
            Random(seed).fill(&mut *input, 0, protocol == Protocol::Query);
            let body = encode_input(protocol, operation, &*input);
            let form = match protocol {
                Protocol::Json { .. } => Form::Json(&body),
                Protocol::Cbor => Form::Cbor(&body),
                _ => Form::Params(Params::parse(&body).unwrap()),
            };
            let mut again = (operation.new_input)();
            decode_input(protocol, &form, &mut *again).unwrap();
            assert_eq!(format!("{input:#?}"), format!("{again:#?}"), "{operation:?} {protocol:?}");
        });
    }

    #[test]
    fn answers(seed: u64) {
        each(|protocol, operation| {
            let mut output = (operation.new_output)();
            Random(seed).fill(&mut *output, 0, true);
            let reply = Reply::success(protocol, operation, &*output, "11111111-2222-3333-4444-555555555555");
            let mut again = (operation.new_output)();
            decode_output(protocol, operation, &reply.body, &mut *again).unwrap();
            assert_eq!(format!("{output:#?}"), format!("{again:#?}"), "{operation:?} {protocol:?}");
        });
    }
}
