//! What the kernel holds, as nft's JSON has it, and what the ledger says, in the same shape.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::house::{House, eventually};

/// So many seconds the two may be apart: the kernel keeps an element a little longer than the ban, and neither is read
/// at the same moment.
const APART: i64 = 9;

/// The addresses in our table, and how many seconds they have left; `None` for ever.
pub(crate) fn kernel(house: &House) -> BTreeMap<String, Option<i64>> {
    let output = house
        .inside("nft")
        .args(["-j", "list", "table", "inet", "portcullis"])
        .output();
    let listed: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap_or_default();
    let objects = listed["nftables"].as_array().cloned().unwrap_or_default();
    let elements = objects.iter().filter_map(|object| object["set"]["elem"].as_array());
    elements.flatten().map(element).collect()
}

fn element(element: &Value) -> (String, Option<i64>) {
    let inner = element.get("elem").unwrap_or(element);
    let value = inner.get("val").unwrap_or(inner);
    let ip = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    (ip, inner["expires"].as_i64())
}

/// The same of the ledger, of all jails.
pub(crate) fn ledger(house: &House) -> BTreeMap<String, Option<i64>> {
    let now = jiff::Timestamp::now().as_second();
    let entry = |ban: &Value| {
        let until = ban["until"]
            .as_str()
            .map(|until| until.parse::<jiff::Timestamp>().unwrap());
        let ip = ban["ip"].as_str().unwrap().to_owned();
        (ip, until.map(|until| until.as_second() - now))
    };
    let banned = house.json(&["banned"]);
    banned.as_array().unwrap().iter().map(entry).collect()
}

/// What differs between the two.
pub(crate) fn differences(house: &House) -> Vec<String> {
    let (ledger, kernel) = (ledger(house), kernel(house));
    let mut out: Vec<String> = Vec::new();
    for (ip, left) in &ledger {
        match (kernel.get(ip), left) {
            (None, _) => out.push(format!("{ip} is not in the kernel")),
            (Some(None), None) => {}
            (Some(Some(held)), Some(left)) if held.abs_diff(*left) <= APART.unsigned_abs() => {}
            (Some(held), _) => out.push(format!("{ip} ends in {left:?} s, in the kernel in {held:?} s")),
        }
    }
    let extra = kernel.keys().filter(|ip| !ledger.contains_key(*ip));
    out.extend(extra.map(|ip| format!("{ip} is in the kernel, and not banned")));
    out
}

/// Waits until kernel and ledger are one.
pub(crate) fn until_equal(house: &House) {
    let mut last = Vec::new();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    eventually("kernel and ledger are equal", || {
        last = differences(house);
        assert!(
            std::time::Instant::now() < deadline,
            "kernel and ledger differ: {last:?}"
        );
        last.is_empty()
    });
}
