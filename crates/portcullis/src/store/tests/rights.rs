//! Commands that the database holds are run by the next start, so nobody else may have written them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use portcullis_core::ledger::LayerId;

use super::*;

#[test]
fn commands_that_others_may_have_written_are_not_given() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(100);
    let folder = bench.dir.path().to_owned();
    let chmod = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    chmod(&bench.path(), 0o666);
    assert_eq!(store.traces().unwrap(), [], "nothing to be run");
    let trace = Trace {
        layer: LayerId {
            jail: jail("sshd"),
            action: "a".into(),
        },
        boot: "b".into(),
        network: "n".into(),
        families: "[]".into(),
        clean: false,
        definition: "[]".into(),
        told: "[]".into(),
    };
    store.mark(std::slice::from_ref(&trace)).unwrap();
    let check = |file, directory, expect: Option<&Path>| {
        chmod(&bench.path(), file);
        chmod(&folder, directory);
        let exposed = match store.traces() {
            Ok(traces) => {
                assert_eq!(traces, std::slice::from_ref(&trace));
                None
            }
            Err(Error::Exposed { exposed, .. }) => Some(exposed),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(exposed.as_deref(), expect, "{file:o} in {directory:o}");
    };
    check(0o666, 0o700, Some(&bench.path()));
    check(0o602, 0o755, Some(&bench.path()));
    check(0o600, 0o1777, Some(&folder));
    check(0o600, 0o755, None);
    check(0o644, 0o700, None);
}
