//! A reply of a server that may not be ours: it is read or refused, and one that was read is written and read again as
//! the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::wire::Reply;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reply) = Reply::from_bytes(bytes) {
        let again = Reply::from_bytes(&reply.to_bytes());
        // A float that is no number is not equal to itself.
        assert_eq!(again.map(|reply| format!("{reply:?}")), Ok(format!("{reply:?}")));
    }
});
