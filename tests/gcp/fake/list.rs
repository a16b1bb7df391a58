//! Lists in pages, with filters.

use regex::Regex;
use serde_json::{Value, json};

use super::http::Request;
use super::problem::Problem;

/// One page of a list (`FirewallList`, `OperationList`).
pub(crate) fn page(request: &Request, kind: &str, link: &str, all: Vec<Value>, most: usize) -> Result<Value, Problem> {
    let asked = request.parameter("maxResults").unwrap_or("500");
    let asked: usize = asked.parse().unwrap_or(usize::MAX);
    if asked > 500 {
        return Err(Problem::new(400, "invalidParameter", "maxResults goes from 0 to 500"));
    }
    let token = request.parameter("pageToken").map(|token| {
        let place = token
            .strip_prefix("page-from-")
            .and_then(|place| place.parse::<usize>().ok());
        place.ok_or_else(|| Problem::new(400, "invalid", "This pageToken was never given"))
    });
    let from = token.transpose()?.unwrap_or(0);
    let wanted = request.parameter("filter").map(Filter::parse).transpose()?;
    let fits = |value: &Value| wanted.as_ref().is_none_or(|filter| filter.fits(value));
    let found: Vec<Value> = all.into_iter().filter(fits).collect();
    let most = if asked == 0 { most } else { most.min(asked) };
    let items: Vec<Value> = found.iter().skip(from).take(most).cloned().collect();
    let mut page = json!({"kind": kind, "id": link.trim_start_matches("https://www.googleapis.com/compute/v1/"), "selfLink": link});
    if from + items.len() < found.len() {
        page["nextPageToken"] = json!(format!("page-from-{}", from + items.len()));
    }
    if !items.is_empty() {
        page["items"] = Value::Array(items);
    }
    Ok(page)
}

/// Comparisons that all hold.
struct Filter(Vec<Comparison>);

struct Comparison {
    field: String,
    is_meant: bool,
    pattern: Regex,
}

impl Filter {
    /// `name eq REGEX`, `name = TEXT`, `name:TEXT*`, and the same in brackets beside each other.
    fn parse(text: &str) -> Result<Filter, Problem> {
        let refused = || Problem::new(400, "invalid", format!("Invalid value for field 'filter': '{text}'."));
        let shape =
            r#"^\s*\(?\s*(?:AND\s+)?([a-zA-Z.]+)\s*(?:(eq|ne)\s+|(!=|=|:)\s*)("(?:[^"\\]|\\.)*"|[^\s()"]+)\s*\)?"#;
        let shape = Regex::new(shape).expect("the pattern is a constant");
        let mut comparisons = Vec::new();
        let mut rest = text;
        while !rest.trim().is_empty() {
            let parts = shape.captures(rest).ok_or_else(refused)?;
            let word = parts.get(2).or(parts.get(3)).map_or("", |word| word.as_str());
            let value = parts[4].trim_matches('"');
            let pattern = match word {
                "eq" | "ne" => format!("^(?:{value})$"),
                ":" if value.ends_with('*') => format!("^{}", regex::escape(value.trim_end_matches('*'))),
                ":" => regex::escape(value),
                _ if value.contains('*') => return Err(refused()),
                _ => format!("^{}$", regex::escape(value)),
            };
            comparisons.push(Comparison {
                field: parts[1].to_owned(),
                is_meant: !["ne", "!="].contains(&word),
                pattern: Regex::new(&pattern).map_err(|_| refused())?,
            });
            rest = &rest[parts[0].len()..];
        }
        Ok(Filter(comparisons))
    }

    fn fits(&self, value: &Value) -> bool {
        let fits = |comparison: &Comparison| {
            let field = comparison.field.split('.').fold(value, |value, name| &value[name]);
            let text = field.as_str().map_or_else(|| field.to_string(), str::to_owned);
            comparison.pattern.is_match(&text) == comparison.is_meant
        };
        self.0.iter().all(fits)
    }
}
