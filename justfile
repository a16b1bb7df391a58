# The recipes of the project; `just` lists them.

_list:
    @just --list --unsorted

# The main job in under a minute: a made-up attack, real bans, everything cleaned up
try:
    cargo run --release -- try

# All tests (as root), or those whose names contain a filter
test *FILTER:
    tests/run {{FILTER}}

# The random comparisons with Fail2Ban for so many minutes each (there are about ten), a death at each of the first
# times that a step is passed, 50,000 bans that end together, and the flood with 100,000 bans
full MINUTES='10':
    COMPLIANCE_MINUTES={{MINUTES}} cargo test --locked --test compliance -- --nocapture
    DAEMON_FULL=1 cargo test --locked --test daemon faults:: -- --nocapture
    DAEMON_FULL=1 cargo test --locked --release --test daemon drift:: -- --nocapture --test-threads 1
    FLOOD_BANS=100000 cargo test --locked --release --test daemon flood:: -- --nocapture

# How long bans take to be in the kernel, and to be back after a restart, beside Fail2Ban (as root; 2 minutes)
bench *OPTIONS:
    cargo build --release --locked
    bench/enforce {{OPTIONS}}

# How fast logs are read, beside Fail2Ban, fail2ban-rs, sshguard and ripgrep (as root; --quick takes 5 minutes)
compare *OPTIONS:
    cargo build --release --locked
    bench/compare {{OPTIONS}}

# How much sooner than Fail2Ban's the bans of stock actions are in the kernel, which must be equal (as root; 3 minutes)
parity *FILTER:
    bench/parity {{FILTER}}

# The tests of the packages on other systems: SUITE is trixie, jammy or noble (as root; some minutes each)
packages SUITE='trixie':
    PACKAGES_SUITE={{SUITE}} cargo test --locked --test packages -- --nocapture --test-threads 1

# What is checked before a commit
check: fmt lint
    cargo test -p portcullis-core --test flow --test house --quiet

# Rewrites the sources in the house's format
fmt:
    cargo fmt --all

# Lints of all targets, warnings are errors
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Licences, sources and bans of the dependencies
deny:
    cargo deny --locked check bans licenses sources

# All that a change must pass
ci:
    .ci/run
