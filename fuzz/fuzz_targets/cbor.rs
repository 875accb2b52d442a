#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(target) = puffer_fuzz::target("cbor") {
        (target.run)(data);
    }
});
