//! The OpenAPI 3.1 document of the routes, made from the contract and its comments.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::{
    contract::{Gateway, Route},
    routes::Body,
    template::Segment,
};

/// The package whose names need no package in front.
const PACKAGE: &str = "docket.v1.";
/// What every refusal is.
const STATUS: &str = "google.rpc.Status";

const ABOUT: &str = "Docket's public contract for those without gRPC. Each method is the one that gRPC has, with the same permissions, limits and \
                     answers; JSON is protobuf's canonical mapping: names in lowerCamelCase (the contract's own are taken, too), 64-bit numbers as \
                     texts, times as RFC 3339. Money is an integer of minor units with one ISO 4217 code. Fields that have no presence are always \
                     there in answers.\n\nA request carries `authorization: Bearer TOKEN` or `x-api-key: KEY`. With `idempotency-key` (or \
                     `requestId` in the body) a repeat is answered as the first was. `grpc-timeout` (`500m`, `30S`) says how long the client \
                     waits; `traceparent` and `tracestate` are carried on. Every refusal is a `google.rpc.Status` whose `ErrorInfo` has a reason \
                     that never changes its meaning.";

/// The document.
pub fn document(gateway: &Gateway) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    for route in gateway.routes() {
        let service = route.method.parent_service();
        let tag = service.name().to_owned();
        tags.entry(tag)
            .or_insert_with(|| comment(&service.parent_file(), service.path()));
        let verb = route.rule.verb.as_str().to_ascii_lowercase();
        let operation = operation(route, &mut schemas);
        paths.entry(path_of(route)).or_default().insert(verb, operation);
    }
    let tags: Vec<Value> = tags
        .into_iter()
        .map(|(name, description)| json!({ "name": name, "description": description }))
        .collect();
    let mut schemas = schemas.all(gateway);
    schemas.insert(STATUS.into(), status_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Docket",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
            "responses": {
                "refusal": {
                    "description": "A refusal. Its `ErrorInfo` has a reason that never changes its meaning.",
                    "content": { "application/json": { "schema": reference(STATUS) } },
                },
            },
        },
        "security": [{ "apiKey": [] }, { "bearer": [] }],
    })
}

/// The path as OpenAPI writes it: a variable for each part that is one, `/v1/orders/{order}:cancel`.
fn path_of(route: &Route) -> String {
    let names = &mut variable_names(route).into_iter();
    let mut path = String::new();
    for segment in &route.template.segments {
        path.push('/');
        match segment {
            Segment::Literal(literal) => path.push_str(literal),
            Segment::Any => {
                path.push('{');
                path.push_str(&names.next().unwrap_or_default());
                path.push('}');
            }
        }
    }
    if let Some(custom) = route.template.custom {
        path.push(':');
        path.push_str(custom);
    }
    path
}

/// What the variable parts of a path are called: after what stands before them.
fn variable_names(route: &Route) -> Vec<String> {
    let segments = &route.template.segments;
    let named = segments
        .iter()
        .enumerate()
        .filter(|(_, segment)| **segment == Segment::Any);
    let named = named.map(|(at, _)| match at.checked_sub(1).map(|before| segments[before]) {
        // Of two in a row the first says of what kind the second is.
        Some(Segment::Literal(_)) if segments.get(at + 1) == Some(&Segment::Any) => "kind".to_owned(),
        Some(Segment::Literal(collection)) => collection.strip_suffix('s').unwrap_or(collection).to_owned(),
        _ => "id".to_owned(),
    });
    named.collect()
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let about = comment(&route.method.parent_file(), route.method.path());
    let summary = about.split(['.', ':']).next().unwrap_or_default();
    let mut parameters: Vec<Value> = variable_names(route)
        .iter()
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    for field in route.input.fields() {
        if route.rule.body != Body::Whole
            && route.body.as_ref() != Some(&field)
            && !route.bound.iter().any(|bound| bound.first() == Some(&field))
        {
            parameters.push(json!({
                "name": field.json_name(),
                "in": "query",
                "description": comment(&route.input.parent_file(), field.path()),
                "schema": schemas.of_field(&field),
            }));
        }
    }
    let repeats = route.input.get_field_by_name("request_id").is_some();
    if repeats {
        parameters.push(json!({
            "name": "idempotency-key",
            "in": "header",
            "description": "The same as `requestId`: under it the request may be sent again, and is done once.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 64 },
        }));
    }
    let answer = schemas.of_message(&route.method.output(), &[]);
    let content = match route.streams() {
        false => json!({ "application/json": { "schema": answer } }),
        true => json!({
            "application/x-ndjson": { "schema": answer },
            "text/event-stream": { "schema": { "type": "string" } },
        }),
    };
    let mut operation = json!({
        "operationId": route.method.name(),
        "tags": [route.method.parent_service().name()],
        "summary": summary,
        "description": about,
        "parameters": parameters,
        "responses": {
            "200": { "description": told_of(route), "content": content },
            "default": { "$ref": "#/components/responses/refusal" },
        },
    });
    if route.has_body() {
        let bound: Vec<&FieldDescriptor> = route.bound.iter().filter_map(|bound| bound.first()).collect();
        let schema = match &route.body {
            Some(field) => schemas.of_field(field),
            None => schemas.of_message(&route.input, &bound),
        };
        // Where all is in the path that must be said, there may be none.
        let is_said = |field: &FieldDescriptor| {
            bound.contains(&field) || ["request_id", "etag"].contains(&field.name())
        };
        operation["requestBody"] = json!({
            "required": !route.input.fields().all(|field| is_said(&field)),
            "content": { "application/json": { "schema": schema } },
        });
    }
    if is_open(route) {
        operation["security"] = json!([]);
    }
    operation
}

fn told_of(route: &Route) -> &'static str {
    match route.streams() {
        false => "It is done, or this is what was asked for.",
        true => {
            "A line for each message, until either end has enough; with `accept: text/event-stream` an event each, whose id is the token to \
             resume with (`last-event-id`). What ends it early is the last line, `{\"error\": google.rpc.Status}`, or an event `error`."
        }
    }
}

/// Whether a method asks for no credentials: those with which sessions are had.
fn is_open(route: &Route) -> bool {
    ["Login", "Refresh", "Logout"].contains(&route.method.name())
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What an operation refers to.
#[derive(Default)]
struct Schemas {
    /// Messages, and which of their fields are left out since they are said elsewhere.
    messages: BTreeMap<String, Vec<u32>>,
    enums: BTreeSet<String>,
}

impl Schemas {
    /// A message, which is noted.
    fn of_message(&mut self, message: &MessageDescriptor, without: &[&FieldDescriptor]) -> Value {
        match message.full_name() {
            "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
            "google.protobuf.Duration" => {
                json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$" })
            }
            "google.protobuf.FieldMask" => json!({ "type": "string" }),
            name => {
                let without = without.iter().map(|field| field.number()).collect();
                if self.messages.insert(name.to_owned(), without).is_none() && name != STATUS {
                    for field in message.fields() {
                        let _ = self.of_field(&field);
                    }
                }
                reference(short(name))
            }
        }
    }

    fn of_field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                return json!({});
            };
            let of = self.of_kind(&entry.map_entry_value_field());
            return json!({ "type": "object", "additionalProperties": of });
        }
        let of = self.of_kind(field);
        match field.is_list() {
            true => json!({ "type": "array", "items": of }),
            false => of,
        }
    }

    fn of_kind(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Message(message) => {
                // Where it was noted with fields left out, it stays so.
                match self.messages.contains_key(message.full_name()) {
                    true => reference(short(message.full_name())),
                    false => self.of_message(&message, &[]),
                }
            }
            Kind::Enum(of) => {
                self.enums.insert(of.full_name().to_owned());
                reference(short(of.full_name()))
            }
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "string", "format": "int64" }),
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
        }
    }

    /// All that was noted.
    fn all(mut self, gateway: &Gateway) -> Map<String, Value> {
        let mut all = Map::new();
        for (name, without) in self.messages.clone() {
            if let Some(message) = gateway.pool.get_message_by_name(&name) {
                all.insert(short(&name).to_owned(), self.schema(&message, &without));
            }
        }
        for name in &self.enums {
            if let Some(of) = gateway.pool.get_enum_by_name(name) {
                all.insert(short(name).to_owned(), enum_schema(&of));
            }
        }
        all
    }

    fn schema(&mut self, message: &MessageDescriptor, without: &[u32]) -> Value {
        let mut properties = Map::new();
        for field in message
            .fields()
            .filter(|field| !without.contains(&field.number()))
        {
            let mut about = comment(&message.parent_file(), field.path());
            if let Some(of) = field.containing_oneof().filter(|of| !of.is_synthetic()) {
                about.push_str(&format!(" (One of `{}`.)", of.name()));
            }
            let mut schema = self.of_field(&field);
            schema["description"] = json!(about);
            properties.insert(field.json_name().to_owned(), schema);
        }
        json!({
            "type": "object",
            "description": comment(&message.parent_file(), message.path()),
            "properties": properties,
        })
    }
}

fn enum_schema(of: &EnumDescriptor) -> Value {
    let mut about = comment(&of.parent_file(), of.path());
    for value in of.values() {
        let told = comment(&of.parent_file(), value.path());
        about.push_str(&format!("\n- `{}`: {told}", value.name()));
    }
    let values: Vec<String> = of.values().map(|value| value.name().to_owned()).collect();
    json!({ "type": "string", "description": about, "enum": values })
}

/// `google.rpc.Status` as it is told here: details by their kind.
fn status_schema() -> Value {
    json!({
        "type": "object",
        "description": "Why a call was not done.",
        "required": ["code", "message", "details"],
        "properties": {
            "code": { "type": "integer", "format": "int32", "description": "A value of `google.rpc.Code`." },
            "message": { "type": "string", "description": "For people, in English." },
            "details": {
                "type": "array",
                "description": "`ErrorInfo` always; `BadRequest`, `PreconditionFailure`, `QuotaFailure`, `RetryInfo`, `ResourceInfo` where they apply.",
                "items": {
                    "type": "object",
                    "required": ["@type"],
                    "properties": {
                        "@type": { "type": "string" },
                        "reason": { "type": "string", "description": "Of `ErrorInfo`: for programs, in UPPER_SNAKE_CASE." },
                        "domain": { "type": "string" },
                        "metadata": { "type": "object", "additionalProperties": { "type": "string" } },
                    },
                },
            },
        },
    })
}

/// A name without our package.
fn short(name: &str) -> &str {
    name.strip_prefix(PACKAGE).unwrap_or(name)
}

/// The comment in front of what this path leads to, as one line a paragraph.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let found = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let text = found
        .map(|location| location.leading_comments())
        .unwrap_or_default();
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        lines.join(" ")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n").trim().to_owned()
}
