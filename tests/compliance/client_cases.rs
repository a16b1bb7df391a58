//! Fail2Ban's own end-to-end cases of its client and server, run with our programs in the place of its entry points
//! (`drivers/client_cases.py` is the adapter). Each has a network, processes and a state folder of its own, because
//! the machine's addresses would be spared, its orphans never buried, and two servers share no state.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};

use super::oracle;

/// So many cases run at a time; most of their time they wait.
const LANES: usize = 3;

/// Puts one question to the adapter.
fn ask(question: &Value) -> Value {
    let driver = oracle::here().join("drivers/client_cases.py");
    let line = format!(
        "mount -t tmpfs none /var/lib; ip link set lo up; printf '%s\\n' \"$QUESTION\" | {} {}; exit $?",
        oracle::PYTHON,
        driver.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--fork", "--mount", "--mount-proc", "sh", "-c", &line]);
    command
        .env("QUESTION", question.to_string())
        .env("PYTHONPATH", oracle::modules())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LC_ALL", "C.UTF-8")
        .env("FAIL2BAN_CONFIG_DIR", oracle::configuration());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("the adapter answers {text:?}: {error}"))
}

/// A folder with our program under both names.
fn programs(folder: &Path) {
    for name in ["fail2ban-client", "fail2ban-server"] {
        symlink(env!("CARGO_BIN_EXE_portcullis"), folder.join(name)).unwrap();
    }
}

/// Runs cases, several at a time: why each failed, or nothing.
fn run(names: &[String], folder: &Path) -> BTreeMap<String, Option<String>> {
    let (waiting, results) = (Mutex::new(names.to_vec()), Mutex::new(BTreeMap::new()));
    let lane = || {
        while let Some(name) = { waiting.lock().unwrap().pop() } {
            let answer = ask(&json!({"case": name, "programs": folder}));
            let why = answer["why"]
                .as_str()
                .or(answer["text"].as_str())
                .unwrap_or_default()
                .to_owned();
            let why = (answer["passed"] != true).then_some(why);
            results.lock().unwrap().insert(name, why);
        }
    };
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(lane);
        }
    });
    results.into_inner().unwrap()
}

#[test]
fn fail2bans_own_cases_with_our_programs() {
    let folder = tempfile::tempdir().unwrap();
    programs(folder.path());
    let list = ask(&json!({"cases": true}));
    let carried: Vec<String> = serde_json::from_value(list["carried"].clone()).unwrap();
    let beyond = list["beyond"].as_object().unwrap();
    for (name, why) in beyond {
        println!("cannot be carried: {name}: {why}");
    }
    let results = run(&carried, folder.path());
    let failed: Vec<_> = results.iter().filter(|(_, why)| why.is_some()).collect();
    println!(
        "{} of Fail2Ban's own cases pass, {} fail, {} cannot be carried",
        results.len() - failed.len(),
        failed.len(),
        beyond.len()
    );
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!((carried.len(), beyond.len()), (18, 3), "{carried:?} {beyond:?}");
}
