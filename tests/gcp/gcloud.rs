//! Google's own client drives the fake, so that it is not only we who think that the API is like that.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::fake::{Fake, Fault, PROJECT, Problem, Record};

/// The program, if it is installed; that it is not is said loudly.
pub(crate) fn program() -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("gcloud"))
        .find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no gcloud: the fake is not checked by Google's own client");
    }
    found
}

/// A gcloud of its own: its configuration is in this folder, and nowhere else.
pub(crate) fn command(mut command: Command, folder: &Path) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CLOUDSDK_") || name.starts_with("GCE_")) {
        command.env_remove(name);
    }
    command
        .env("HOME", folder)
        .env("CLOUDSDK_CONFIG", folder.join("configuration"))
        .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
        .env("CLOUDSDK_CORE_SHOULD_PROMPT_TO_ENABLE_API", "false")
        .env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1");
    command
}

/// The program with a fake that it calls.
struct Gcloud {
    program: PathBuf,
    folder: tempfile::TempDir,
    fake: Fake,
    /// Whether it finds out everything from the metadata server
    is_on_machine: bool,
}

impl Gcloud {
    fn new(is_on_machine: bool) -> Option<Gcloud> {
        Some(Gcloud {
            program: program()?,
            folder: tempfile::tempdir().unwrap(),
            fake: Fake::start(),
            is_on_machine,
        })
    }

    fn run(&self, words: &str) -> Output {
        let mut command = command(Command::new(&self.program), self.folder.path());
        command.env("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", self.fake.endpoint());
        if self.is_on_machine {
            command.env("GCE_METADATA_ROOT", self.fake.host());
        } else {
            let token = self.folder.path().join("token");
            std::fs::write(&token, "a-token").unwrap();
            command.env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", token);
            command.env("CLOUDSDK_CORE_PROJECT", PROJECT);
            command.env("CLOUDSDK_CORE_CHECK_GCE_METADATA", "false");
        }
        command.args(["compute", "firewall-rules"]).args(words.split(' '));
        command.output().unwrap()
    }

    /// What a command prints as JSON.
    fn json(&self, words: &str) -> Value {
        let output = self.run(&format!("{words} --format=json"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}: {error}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|problem| panic!("{words}: {problem}"))
    }

    /// How a command fails.
    fn error(&self, words: &str) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{words}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The calls since the last look.
    fn calls(&self) -> Vec<Record> {
        self.fake.with(|state| std::mem::take(&mut state.records))
    }
}

/// The calls to the API in brief.
fn brief(calls: &[Record]) -> Vec<String> {
    let calls = calls.iter().filter(|call| call.is_api());
    let end = |call: &Record| {
        let path = call
            .path
            .rsplit_once("/global/")
            .map_or(call.path.as_str(), |(_, end)| end);
        let is_wait = path.ends_with("/wait");
        let path = if is_wait { "operations/…/wait" } else { path };
        format!("{} {path}", call.method)
    };
    calls.map(end).collect()
}

/// The whole life of a rule: created, looked at, changed, emptied, deleted.
#[test]
fn a_rule_lives_and_dies() {
    let Some(gcloud) = Gcloud::new(false) else { return };
    let made = gcloud.json(
        "create block-ip --direction=INGRESS --action=DENY --rules=all --priority=10 --network=default \
         --source-ranges=192.0.2.1/32,203.0.113.0/24",
    );
    assert_eq!(made[0]["sourceRanges"], json!(["192.0.2.1/32", "203.0.113.0/24"]));
    let calls = gcloud.calls();
    assert_eq!(
        brief(&calls),
        ["POST firewalls", "POST operations/…/wait", "GET firewalls/block-ip"]
    );
    assert_eq!(calls[0].authorization.as_deref(), Some("Bearer a-token"));
    assert!(
        calls[0].agent.starts_with("google-cloud-sdk gcloud/"),
        "{}",
        calls[0].agent
    );
    let described = gcloud.json("describe block-ip");
    assert_eq!(described, gcloud.fake.rule("block-ip").unwrap().body);
    assert_eq!(gcloud.json("list"), json!([described]));
    assert_eq!(gcloud.json("list --filter=name=block-ip"), json!([described]));
    assert_eq!(gcloud.json("list --filter=name=blocks"), json!([]));
    gcloud.calls();
    let update = "update block-ip --source-ranges";
    let changed = gcloud.json(&format!("{update}=192.0.2.1/32,198.51.100.7/32"));
    assert_eq!(changed[0]["sourceRanges"], json!(["192.0.2.1/32", "198.51.100.7/32"]));
    let sequence = [
        "GET firewalls/block-ip",
        "PATCH firewalls/block-ip",
        "POST operations/…/wait",
        "GET firewalls/block-ip",
    ];
    assert_eq!(brief(&gcloud.calls()), sequence);
    // The trap: nothing left means everybody.
    let emptied = gcloud.json(&format!("{update}="));
    assert_eq!(emptied[0]["sourceRanges"], json!(["0.0.0.0/0"]));
    assert_eq!(gcloud.calls()[1].body["sourceRanges"], json!([]));
    assert!(gcloud.run("delete block-ip").status.success());
    assert_eq!(
        brief(&gcloud.calls()),
        ["DELETE firewalls/block-ip", "POST operations/…/wait"]
    );
    assert!(gcloud.fake.rule("block-ip").is_none());
}

#[test]
fn it_understands_every_refusal() {
    let Some(gcloud) = Gcloud::new(false) else { return };
    gcloud.fake.settings(|settings| settings.limits.most = 2);
    gcloud.fake.block_ip(&["192.0.2.1/32"]);
    let refused = |words: &str, expect: &str| {
        let error = gcloud.error(words);
        assert!(error.contains(expect), "{words}: {error}");
    };
    refused("describe other", "'projects/fake-project/global/firewalls/other'");
    refused("create block-ip --action=DENY --rules=all", "is there already");
    let update = "update block-ip --source-ranges";
    refused(&format!("{update}=192.0.2.1/32,2001:db8::1/128"), "IPv4 and IPv6");
    refused(&format!("{update}=198.51.100.7/24"), "bits behind its prefix");
    refused(
        &format!("{update}=192.0.2.1/32,192.0.2.2/32,192.0.2.3/32"),
        "maximum size 2 element(s); actual size 3",
    );
    let patch = |fault| gcloud.fake.script("PATCH", "block-ip", 1, fault);
    patch(Fault::Refused(Problem::rate()));
    refused(&format!("{update}=198.51.100.7/32"), "quota of calls");
    patch(Fault::Fails(Problem::operations()));
    refused(&format!("{update}=198.51.100.7/32"), "quota of operations");
    assert_eq!(gcloud.fake.ranges("block-ip"), ["192.0.2.1/32"]);
}

/// The flags of the recipe do not exist: nothing is ever called.
#[test]
fn the_recipe_as_published_fails() {
    let Some(gcloud) = Gcloud::new(false) else { return };
    let output = gcloud.run("update block-ip --add-source-ranges 198.51.100.7");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(brief(&gcloud.calls()), Vec::<String>::new());
}

/// Project and token come from the metadata server, as on a real machine.
#[test]
fn it_takes_the_fake_for_a_machine() {
    let Some(gcloud) = Gcloud::new(true) else { return };
    gcloud
        .fake
        .settings(|settings| settings.tokens = Some(Default::default()));
    gcloud.fake.block_ip(&["192.0.2.1/32"]);
    let body = gcloud.json("describe block-ip");
    assert_eq!(body["sourceRanges"], json!(["192.0.2.1/32"]));
    let calls = gcloud.calls();
    let asked = |end: &str| calls.iter().any(|call| call.path.ends_with(end));
    assert!(asked("/project/project-id") && asked("/token"), "{calls:?}");
    let call = calls.iter().find(|call| call.is_api()).unwrap();
    assert!(
        call.authorization
            .as_ref()
            .unwrap()
            .starts_with("Bearer metadata-token-"),
        "{call:?}"
    );
}
