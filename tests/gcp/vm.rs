//! A virtual machine in the cloud: a house for one daemon, and beside it, on its own loopback, the fake.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::{Command, Output};

use serde_json::Value;

use crate::fake::{Fake, PROJECT};
use crate::gcloud;
use crate::house::{House, Jail, PROGRAM, append, is_root};

/// The daemon's machine. The house goes first: what the daemon still does at its end is looked at, too.
pub(crate) struct Vm {
    pub(crate) house: House,
    pub(crate) fake: Fake,
}

impl Vm {
    /// Without jails; credentials, project and network come from the metadata server.
    pub(crate) fn new() -> Vm {
        assert!(
            is_root(),
            "these tests make network namespaces and listen in them: run them as root (tests/run does)"
        );
        let mut house = House::empty();
        let up = house.inside("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let namespace = File::open(format!("/proc/{}/ns/net", house.holder())).unwrap();
        let fake = Fake::start_in(namespace);
        let endpoint = endpoints(&fake);
        let host = ("GCE_METADATA_HOST", fake.host());
        surround(&mut house, endpoint.into_iter().chain([host]));
        Vm { house, fake }
    }

    /// Without a metadata server, as anywhere else: project and token are given.
    pub(crate) fn elsewhere() -> Vm {
        let mut vm = Vm::new();
        vm.house.write("token", "a-token");
        vm.fake
            .settings(|settings| settings.tokens = Some(["a-token".to_owned()].into()));
        let given = [
            ("GCE_METADATA_HOST", "127.0.0.1:9".to_owned()),
            ("CLOUDSDK_CORE_PROJECT", PROJECT.to_owned()),
            (
                "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
                vm.house.path("token").display().to_string(),
            ),
        ];
        let endpoint = endpoints(&vm.fake);
        surround(&mut vm.house, endpoint.into_iter().chain(given));
        vm
    }

    /// One jail, `plain`, which bans for the first failure.
    pub(crate) fn jail(&self, options: &str) {
        self.house.jails(&[Jail {
            name: "plain",
            maxretry: 1,
            options,
        }]);
    }

    /// One of our verbs, with the daemon's environment.
    pub(crate) fn verb(&self, words: &[&str]) -> Output {
        let mut command = self.house.inside(PROGRAM);
        command.args(words).arg("-c").arg(self.house.path("etc"));
        command.arg("--state").arg(self.house.path("state"));
        command.arg("--socket").arg(self.house.path("socket"));
        let environment = self.house.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        command.output().unwrap()
    }

    /// Appends a line to a log, with the time that syslog would write.
    pub(crate) fn log(&self, log: &str, line: &str) {
        let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S");
        append(&self.house.path(log), format!("{now} mail {line}\n").as_bytes());
    }

    /// The list of a rule, as Google's own client prints it; none where there is no such client.
    pub(crate) fn described(&self, rule: &str) -> Option<Vec<String>> {
        let program = gcloud::program()?;
        let mut command = Command::new("nsenter");
        let holder = self.house.holder().to_string();
        command.args(["-t", &holder, "-n", "-m", "--"]).arg(program);
        let folder = self.house.path("gcloud");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("token"), "a-token").unwrap();
        let mut command = gcloud::command(command, &folder);
        command
            .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", self.fake.endpoint())
            .env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", folder.join("token"))
            .env("CLOUDSDK_CORE_PROJECT", PROJECT)
            .env("CLOUDSDK_CORE_CHECK_GCE_METADATA", "false")
            .args([
                "compute",
                "firewall-rules",
                "describe",
                rule,
                "--format=json(sourceRanges)",
            ]);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gcloud: {error}");
        let body: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ranges = body["sourceRanges"].as_array().unwrap();
        Some(ranges.iter().map(|range| range.as_str().unwrap().to_owned()).collect())
    }
}

/// No two of these are neighbours, so that nothing can be put together without loss.
pub(crate) fn attacker(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number * 2)
}

/// Where the API is.
fn endpoints(fake: &Fake) -> [(&'static str, String); 2] {
    [
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", fake.endpoint()),
        (
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER",
            format!("http://{}/", fake.host()),
        ),
    ]
}

/// The environment of what runs in the house: these, and nothing of what this machine tells Google's programs.
fn surround(house: &mut House, ours: impl Iterator<Item = (&'static str, String)>) {
    let is_foreign = |name: &String| {
        ["CLOUDSDK_", "GCE_", "GOOGLE_"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let foreign = std::env::vars().map(|(name, _)| name).filter(is_foreign);
    house.through = vec!["env".to_owned()];
    house.through.extend(foreign.flat_map(|name| ["-u".to_owned(), name]));
    house
        .through
        .extend(ours.map(|(name, value)| format!("{name}={value}")));
}
