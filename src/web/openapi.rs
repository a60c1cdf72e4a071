//! The description of the API (OpenAPI 3.1), made from the table of routes.

use serde_json::{Map, Value as Json, json};

use super::call::Call;
use super::reply::{Refusal, Reply, json_reply};
use super::routes::{self, Access, Field, Method, Route};

pub(super) async fn description(_: Call) -> Result<Reply, Refusal> {
    Ok(json_reply(&document()))
}

/// The whole document.
#[must_use]
pub fn document() -> Json {
    let mut paths = Map::new();
    for route in
        routes::all().filter(|route| route.content != "text/html" && !route.path.starts_with("/assets"))
    {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Json::Object(path) = path {
            path.insert(route.method.name().to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "fieldgate", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-fg"},
            },
            "schemas": {"Error": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": {"type": "string"},
                        "message": {"type": "string"},
                        "field": {"type": "string"},
                        // What the message says, in whatever language, for programs.
                        "said": {
                            "type": "object",
                            "required": ["code", "values"],
                            "properties": {
                                "code": {"type": "string"},
                                "values": {"type": "object", "additionalProperties": {"type": "string"}},
                            },
                        },
                    },
                }},
            }},
        },
    })
}

fn operation(route: &Route) -> Json {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = route.query.iter().map(|field| {
        json!({
            "name": field.name,
            "in": "query",
            "required": field.required,
            "description": field.doc,
            "schema": {"type": field.kind},
        })
    });
    let parameters: Vec<Json> = in_path.chain(in_query).collect();
    let error = |what: &str| json!({"description": what, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}});
    let schema = if route.content == "application/json" { json!({}) } else { json!({"type": "string"}) };
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": {route.content: {"schema": schema}}},
            "default": error("Refused, or not possible now"),
        },
    });
    if let Json::Object(object) = &mut operation {
        if let Access::Role(role) = route.access {
            object.insert("x-role".into(), json!(role.name()));
            object.insert("security".into(), json!([{"token": []}, {"session": []}]));
        }
        if route.method != Method::Get && !route.body.is_empty() {
            object.insert("requestBody".into(), body(route.body));
        }
    }
    operation
}

fn body(fields: &[Field]) -> Json {
    let property = |field: &Field| {
        // Null is the same as nothing.
        let kind = if field.required { json!(field.kind) } else { json!([field.kind, "null"]) };
        (field.name.to_owned(), json!({"type": kind, "description": field.doc}))
    };
    let properties: Map<String, Json> = fields.iter().map(property).collect();
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let schema = json!({"type": "object", "required": required, "properties": properties});
    json!({"required": true, "content": {"application/json": {"schema": schema}}})
}
