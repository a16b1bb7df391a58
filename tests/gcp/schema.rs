//! The published description of the Compute API (`compute.v1.json` of PyPI's google-api-python-client), against which
//! every call and every answer of the fake is held: paths, parameters, names of fields, kinds of values, enumerations.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::fake::Record;

/// Everything below here is in the description by its service path.
const SERVICE: &str = "/compute/v1/";

/// What of these calls the description does not know.
pub(crate) fn differences(records: &[Record]) -> Vec<String> {
    let Some(api) = api() else { return Vec::new() };
    let answered = records
        .iter()
        .filter(|record| record.is_api() && record.answer.is_some());
    let mut found: Vec<String> = answered.flat_map(|record| api.call(record)).collect();
    found.dedup();
    found
}

/// The description; none where it cannot be had, which is said loudly.
pub(crate) fn api() -> Option<&'static Api> {
    static API: OnceLock<Option<Api>> = OnceLock::new();
    let load = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compute");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gcp/fetch");
        let is_there = Command::new(script)
            .arg(&folder)
            .status()
            .is_ok_and(|status| status.success());
        if !is_there {
            eprintln!(
                "SKIPPED: no compute.v1.json (PyPI cannot be reached, or python3 has no pip): calls and answers are not checked against it"
            );
            return None;
        }
        let text = std::fs::read(folder.join("compute.v1.json")).unwrap();
        Some(Api::new(serde_json::from_slice(&text).unwrap()))
    };
    API.get_or_init(load).as_ref()
}

/// The description, with its methods at hand.
pub(crate) struct Api {
    whole: Value,
    methods: Vec<Method>,
}

struct Method {
    verb: String,
    path: Regex,
    names: Vec<String>,
    body: Value,
}

impl Api {
    fn new(whole: Value) -> Api {
        let resources = whole["resources"].as_object().into_iter().flatten();
        let wanted = ["firewalls", "globalOperations", "projects", "networks", "instances"];
        let resources = resources.filter(|(name, _)| wanted.contains(&name.as_str()));
        let methods = resources.flat_map(|(_, resource)| resource["methods"].as_object().into_iter().flatten());
        let methods = methods.map(|(_, method)| Method::new(method)).collect();
        Api { whole, methods }
    }

    fn call(&self, record: &Record) -> Vec<String> {
        let (status, answer) = record.answer.as_ref().expect("it was answered");
        let name = format!("{} {}", record.method, record.path);
        let path = record.path.strip_prefix(SERVICE).unwrap_or(&record.path);
        let Some(method) = self.methods.iter().find(|method| method.is(&record.method, path)) else {
            return vec![format!("{name}: no such method")];
        };
        let mut found = self.parameters(method, path, record);
        let is_good = *status == 200;
        if is_good || !record.agent.starts_with("raw/") {
            match method.body["request"]["$ref"].as_str() {
                Some(schema) => {
                    let mut body = record.body.clone();
                    if let (Value::Object(fields), "PATCH") = (&mut body, record.method.as_str()) {
                        // What a merge patch takes away is null.
                        fields.retain(|_, value| !value.is_null());
                    }
                    self.value(schema, &self.whole["schemas"][schema], &body, &mut found);
                    found.extend(self.lacking(method, schema, record));
                }
                None if record.body.is_null() => {}
                None => found.push("a body".to_owned()),
            }
        }
        if is_good {
            let schema = method.body["response"]["$ref"].as_str().unwrap_or_default();
            self.value(schema, &self.whole["schemas"][schema], answer, &mut found);
        } else if answer["error"]["code"] != *status || !answer["error"]["errors"][0]["reason"].is_string() {
            found.push(format!("an error like {answer}"));
        }
        found.into_iter().map(|what| format!("{name}: {what}")).collect()
    }

    fn parameters(&self, method: &Method, path: &str, record: &Record) -> Vec<String> {
        let own = method.body["parameters"].as_object();
        let mut found = Vec::new();
        for (name, value) in &record.query {
            let common = &self.whole["parameters"];
            let known = own
                .and_then(|own| own.get(name))
                .or_else(|| common.get(name.trim_start_matches('$')));
            match known {
                Some(known) if name != "alt" && !is_text_of(known, value) => found.push(format!("{name}={value}")),
                Some(_) => {}
                None => found.push(format!("a parameter {name}")),
            }
        }
        if record.status() != Some(200) {
            return found;
        }
        for (name, parameter) in own.into_iter().flatten() {
            let is_there = match method.part(name, path) {
                Some(value) => is_text_of(parameter, value),
                None => parameter["required"] != true || record.query.iter().any(|(there, _)| there == name),
            };
            if !is_there {
                found.push(format!("no parameter {name}, or not like that"));
            }
        }
        found
    }

    /// The fields that the method needs, as far as they are marked; a patch needs what it changes.
    fn lacking(&self, method: &Method, schema: &str, record: &Record) -> Vec<String> {
        let id = &method.body["id"];
        let properties = self.whole["schemas"][schema]["properties"].as_object();
        let is_needed = |property: &Value| {
            let marks = property["annotations"]["required"].as_array();
            marks.is_some_and(|marks| marks.contains(id))
        };
        let lacks = |name: &str| record.method == "POST" && record.body.get(name).is_none();
        let needed = properties
            .into_iter()
            .flatten()
            .filter(|(_, property)| is_needed(property));
        needed
            .filter(|(name, _)| lacks(name))
            .map(|(name, _)| format!("no field {name}"))
            .collect()
    }

    /// Holds a value against a schema.
    fn value(&self, place: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            return self.value(place, &self.whole["schemas"][name], value, found);
        }
        let fits = match (schema["type"].as_str().unwrap_or_default(), value) {
            ("object", Value::Object(fields)) => return self.object(place, schema, fields, found),
            ("array", Value::Array(items)) => {
                for item in items {
                    self.value(place, &schema["items"], item, found);
                }
                return;
            }
            ("string", Value::String(text)) => is_text_of(schema, text),
            ("integer" | "number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("any", _) => true,
            _ => false,
        };
        if !fits {
            let shown: String = value.to_string().chars().take(80).collect();
            found.push(format!("{place} is {shown}"));
        }
    }

    fn object(&self, place: &str, schema: &Value, fields: &Map<String, Value>, found: &mut Vec<String>) {
        for (name, value) in fields {
            let known = schema["properties"]
                .get(name)
                .or_else(|| schema.get("additionalProperties"));
            match known {
                Some(known) => self.value(&format!("{place}.{name}"), known, value, found),
                None => found.push(format!("a field {place}.{name}")),
            }
        }
    }
}

impl Method {
    fn new(method: &Value) -> Method {
        let template = method["path"].as_str().unwrap_or_default();
        let part = Regex::new(r"\{\+?(\w+)\}").unwrap();
        let names = part.captures_iter(template).map(|found| found[1].to_owned()).collect();
        let path = part.replace_all(template, "([^/]+)");
        Method {
            verb: method["httpMethod"].as_str().unwrap_or_default().to_owned(),
            path: Regex::new(&format!("^{path}$")).unwrap(),
            names,
            body: method.clone(),
        }
    }

    fn is(&self, verb: &str, path: &str) -> bool {
        self.verb == verb && self.path.is_match(path)
    }

    /// A parameter that is a part of the path.
    fn part<'p>(&self, name: &str, path: &'p str) -> Option<&'p str> {
        let place = self.names.iter().position(|there| there == name)?;
        Some(self.path.captures(path)?.get(place + 1)?.as_str())
    }
}

/// Whether a text is one that a schema takes: an enumeration, a pattern, a number as text.
fn is_text_of(schema: &Value, text: &str) -> bool {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().any(|word| word == text);
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let pattern = Regex::new(&format!("^(?:{pattern})$"));
        return pattern.is_ok_and(|pattern| pattern.is_match(text));
    }
    match schema["format"].as_str() {
        Some("uint32" | "uint64") => text.parse::<u64>().is_ok(),
        Some("int32" | "int64") => text.parse::<i64>().is_ok(),
        _ => true,
    }
}
