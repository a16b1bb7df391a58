//! A request on the control socket: whatever the bytes are, it is read or refused within its memory, and what was read
//! is written and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::wire::{Verb, pickle};

/// Small enough that a value beyond it shows as one.
const LIMITS: pickle::Limits = pickle::Limits {
    depth: 32,
    objects: 100_000,
    memory: 8 << 20,
};

fuzz_target!(|bytes: &[u8]| {
    let mut asked = 0;
    let read = pickle::decode_within(bytes, LIMITS, &mut |more| {
        asked += more;
        true
    });
    assert!(asked <= LIMITS.memory + (64 << 10));
    if let Ok(value) = read {
        let again = pickle::decode(&pickle::encode(&value)).map(|value| value.repr());
        assert_eq!(again, Ok(value.repr()));
        if let Ok(verb) = Verb::parse(&value) {
            let _ = verb.is_read_only();
        }
    }
});
