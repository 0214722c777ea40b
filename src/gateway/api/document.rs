//! The table of operations as an OpenAPI 3.1 document.

use serde_json::{Map, Value, json};

use super::operations::{Body, IN_PATHS, OPERATIONS, Operation, Parameter};
use crate::error::Kind;
use crate::gateway::problem;

/// Kinds of errors that any operation may end with.
const ALWAYS: [&str; 6] = ["unauthorised", "forbidden", "busy", "internal", "unavailable", "deadline"];

/// The document.
pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(operation.method.to_ascii_lowercase(), describe(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "MeshStore",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A shared, fast, private place for data at the edge, in the fog and in the cloud.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This container" }],
        "security": [{}, { "token": [] }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Problem": problem_schema() },
        },
    })
}

fn tags() -> Value {
    let mut names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.group).collect();
    names.dedup();
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

fn describe(operation: &Operation) -> Value {
    let mut out = json!({
        "operationId": operation.id,
        "tags": [operation.group],
        "summary": operation.summary,
        "responses": responses(operation),
    });
    let in_path = IN_PATHS.iter().filter(|parameter| operation.path.contains(&format!("{{{}}}", parameter.name)));
    let parameters: Vec<Value> = in_path.chain(operation.parameters).map(parameter).collect();
    if let Value::Object(out) = &mut out {
        if !parameters.is_empty() {
            out.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = &operation.body {
            out.insert("requestBody".to_owned(), request_body(body));
        }
    }
    out
}

fn parameter(&Parameter { place, name, shape, meaning }: &Parameter) -> Value {
    json!({ "name": name, "in": place, "required": place == "path", "description": meaning, "schema": { "type": shape } })
}

fn request_body(body: &Body) -> Value {
    json!({ "required": body.required, "description": body.meaning, "content": { body.content_type: content(body.content_type) } })
}

fn content(content_type: &str) -> Value {
    match content_type {
        "application/json" => json!({ "schema": { "type": "object" } }),
        // In 3.1 raw bytes have no schema.
        "application/octet-stream" | "multipart/mixed" => json!({}),
        _ => json!({ "schema": { "type": "string" } }),
    }
}

fn responses(operation: &Operation) -> Value {
    let mut out: Map<String, Value> = Map::new();
    for (status, content_type, meaning) in operation.answers {
        let mut answer = json!({ "description": meaning });
        if let (Some(kind), Value::Object(answer)) = (content_type, &mut answer) {
            answer.insert("content".to_owned(), json!({ *kind: content(kind) }));
        }
        out.insert(status.to_string(), answer);
    }
    for kind in operation.errors.iter().chain(&ALWAYS).filter_map(|name| Kind::from_name(name)) {
        let status = problem::status(kind).0.as_u16().to_string();
        let named = match out.get(&status).and_then(|answer| answer.get("description")).and_then(Value::as_str) {
            Some(others) if others.split(", ").any(|other| other == kind.name()) => others.to_owned(),
            Some(others) => format!("{others}, {}", kind.name()),
            None => kind.name().to_owned(),
        };
        let schema = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
        out.insert(status, json!({ "description": named, "content": { "application/problem+json": schema } }));
    }
    out.into()
}

fn problem_schema() -> Value {
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["type", "title", "status", "detail", "kind"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What was wrong, with which input, and what to do." },
            "kind": { "enum": kinds },
            "address": { "type": "string", "description": "The object it is about, collection/key." },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_described_once_with_all_parameters_of_its_path() {
        let mut ids: Vec<&str> = OPERATIONS.iter().map(|operation| operation.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), OPERATIONS.len(), "two operations have one id");
        for operation in OPERATIONS {
            let named = operation.path.matches('{').count();
            let described = &document()["paths"][operation.path][operation.method.to_ascii_lowercase()];
            let parameters = described["parameters"].as_array().cloned().unwrap_or_default();
            assert_eq!(parameters.iter().filter(|each| each["in"] == "path").count(), named, "{}", operation.path);
            for name in operation.errors.iter().chain(&ALWAYS) {
                assert!(Kind::from_name(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn errors_of_one_status_are_named_together() {
        let push = &document()["paths"]["/v1/objects/{collection}/{key}"]["put"]["responses"];
        assert_eq!(push["412"]["description"], "already_exists, precondition_failed");
        assert_eq!(push["201"]["description"], "Stored; nothing was there.");
    }
}
