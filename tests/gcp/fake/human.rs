//! What a person does in the console meanwhile: at once, and without asking anybody.

use serde_json::{Value, json};

use super::Fake;
use super::state::{PROJECT, Rule, State};
use super::write;

impl Fake {
    /// Makes a rule; without `allowed` and `denied` it denies everything.
    pub(crate) fn make(&self, rule: &Value) {
        self.with(|state| write::by_hand(state, PROJECT, rule));
    }

    /// The rule that most tests are about: `block-ip`, priority 10, with these sources.
    pub(crate) fn block_ip(&self, sources: &[&str]) {
        self.make(&json!({"name": "block-ip", "priority": 10, "sourceRanges": sources}));
    }

    /// Puts ranges into a rule.
    pub(crate) fn add(&self, rule: &str, ranges: &[&str]) {
        self.edit(rule, |rule| {
            let mut list = rule.ranges();
            for range in ranges {
                if !list.iter().any(|there| there == range) {
                    list.push((*range).to_owned());
                    rule.by_hand.insert((*range).to_owned());
                }
            }
            rule.body["sourceRanges"] = json!(list);
        });
    }

    /// Takes ranges out of a rule. Without any that is left it denies everybody.
    pub(crate) fn remove(&self, rule: &str, ranges: &[&str]) {
        self.edit(rule, |rule| {
            let mut list = rule.ranges();
            list.retain(|there| !ranges.contains(&there.as_str()));
            rule.by_hand.retain(|there| !ranges.contains(&there.as_str()));
            if list.is_empty() {
                list.push("0.0.0.0/0".to_owned());
                rule.by_hand.insert("0.0.0.0/0".to_owned());
            }
            rule.body["sourceRanges"] = json!(list);
        });
    }

    /// Takes everything out of a rule, which denies everybody from then on.
    pub(crate) fn clear(&self, rule: &str) {
        let ranges = self.ranges(rule);
        self.remove(rule, &ranges.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Sets any field of a rule.
    pub(crate) fn set(&self, rule: &str, field: &str, value: Value) {
        self.edit(rule, |rule| rule.body[field] = value);
    }

    /// Switches a rule off.
    pub(crate) fn disable(&self, rule: &str) {
        self.set(rule, "disabled", json!(true));
    }

    /// Deletes a rule.
    pub(crate) fn delete(&self, rule: &str) {
        self.with(|state| {
            own(state).remove(rule).expect("the rule is there");
            state.note(PROJECT, rule);
        });
    }

    fn edit(&self, name: &str, act: impl FnOnce(&mut Rule)) {
        self.with(|state| {
            act(own(state).get_mut(name).expect("the rule is there"));
            state.note(PROJECT, name);
        });
    }
}

fn own(state: &mut State) -> &mut std::collections::BTreeMap<String, Rule> {
    &mut state.projects.get_mut(PROJECT).expect("it is there").rules
}
