//! What is asked for: from path, query, headers and body to the message that gRPC would have carried.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde_json::json;

use crate::{
    contract::{Route, fields_of},
    routes::{Body, Verb},
};

/// The field under which a request may be repeated.
const REQUEST_ID: &str = "request_id";
/// The field with which a stream goes on.
const RESUME_TOKEN: &str = "resume_token";
/// So many parameters a query may have.
const PARAMETERS_MAX: usize = 1_024;
/// The most elements of a list.
const ELEMENTS_MAX: usize = 10_000;
/// With these words a field that there is not is refused by who reads JSON.
const UNKNOWN: &str = "unrecognized field name '";

/// Why a request is not one of its method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field, as the request has it; empty where it is all of it.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Wrong {
    fn of(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }
}

/// A request whose body has not come yet.
#[derive(Clone, Debug)]
pub struct Asked {
    route: Arc<Route>,
    captured: Vec<(&'static str, String)>,
    query: String,
    request_id: Option<String>,
    resume_token: Option<String>,
}

impl Asked {
    pub(crate) fn new(route: Arc<Route>, captured: Vec<(&'static str, String)>, query: Option<&str>) -> Self {
        Self {
            route,
            captured,
            query: query.unwrap_or_default().to_owned(),
            request_id: None,
            resume_token: None,
        }
    }

    /// What is asked for.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// A header says under which id the request may be repeated.
    pub fn with_request_id(mut self, id: String) -> Self {
        self.request_id = Some(id);
        self
    }

    /// A header says behind which token a stream goes on. It is later than what the query says.
    pub fn with_resume_token(mut self, token: String) -> Self {
        self.resume_token = Some(token);
        self
    }

    /// The message that is asked with this body.
    ///
    /// # Errors
    /// Where it is none.
    pub fn message(&self, body: &[u8]) -> Result<Vec<u8>, Wrong> {
        let route = &*self.route;
        let mut message = match (&route.body, route.rule.body) {
            (Some(field), _) => {
                let mut message = DynamicMessage::new(route.input.clone());
                if let Kind::Message(inner) = field.kind() {
                    message.set_field(field, Value::Message(read(&inner, body)?));
                }
                message
            }
            (None, Body::Whole) => read(&route.input, body)?,
            (None, _) => DynamicMessage::new(route.input.clone()),
        };
        self.put_query(&mut message)?;
        for ((name, text), fields) in self.captured.iter().zip(&route.bound) {
            let value = parse(fields, name, std::slice::from_ref(text))?;
            put_same(
                &mut message,
                fields,
                value,
                name,
                "must be what the path says, or be left out",
            )?;
        }
        self.put_headers(&mut message)?;
        Ok(message.encode_to_vec())
    }

    fn put_query(&self, message: &mut DynamicMessage) -> Result<(), Wrong> {
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()).take(PARAMETERS_MAX + 1) {
            parameters
                .entry(name.into_owned())
                .or_default()
                .push(value.into_owned());
        }
        if parameters.values().map(Vec::len).sum::<usize>() > PARAMETERS_MAX {
            return Err(Wrong::of(
                "",
                format!("a query has at most {PARAMETERS_MAX} parameters"),
            ));
        }
        for (name, values) in &parameters {
            let fields = fields_of(&self.route.input, name);
            let fields = fields.filter(|fields| self.is_of_the_query(fields));
            let Some(fields) = fields else {
                return Err(Wrong::of(name, "is no parameter of this method"));
            };
            let value = parse(&fields, name, values)?;
            put(message, &fields, value);
        }
        Ok(())
    }

    /// Whether a field is neither in the path nor in the body.
    fn is_of_the_query(&self, fields: &[FieldDescriptor]) -> bool {
        let route = &*self.route;
        let in_body = match &route.body {
            Some(body) => fields.first() == Some(body),
            None => route.rule.body == Body::Whole,
        };
        !in_body && !route.bound.iter().any(|bound| bound == fields)
    }

    fn put_headers(&self, message: &mut DynamicMessage) -> Result<(), Wrong> {
        let input = &self.route.input;
        if let Some(id) = &self.request_id {
            match input.get_field_by_name(REQUEST_ID) {
                Some(field) => {
                    let value = Value::String(id.clone());
                    let why = "must be what idempotency-key says, or be left out";
                    put_same(message, &[field], value, REQUEST_ID, why)?;
                }
                // To read twice is safe.
                None if self.route.rule.verb == Verb::Get => {}
                None => {
                    return Err(Wrong::of(
                        "idempotency-key",
                        "is not known by this method: a repeat would be done again",
                    ));
                }
            }
        }
        if let (Some(token), Some(field)) = (&self.resume_token, input.get_field_by_name(RESUME_TOKEN))
            && self.route.streams()
        {
            put(message, &[field], Value::String(token.clone()));
        }
        Ok(())
    }
}

/// Sets a field, or a field of a field.
fn put(message: &mut DynamicMessage, fields: &[FieldDescriptor], value: Value) {
    match fields {
        [] => {}
        [field] => message.set_field(field, value),
        [outer, inner @ ..] => {
            if let Value::Message(message) = message.get_field_mut(outer) {
                put(message, inner, value);
            }
        }
    }
}

/// Sets a field that the body may say, too, if it says the same.
fn put_same(
    message: &mut DynamicMessage,
    fields: &[FieldDescriptor],
    value: Value,
    name: &str,
    why: &str,
) -> Result<(), Wrong> {
    if found(message, fields).is_some_and(|found| found != value) {
        return Err(Wrong::of(name, why));
    }
    put(message, fields, value);
    Ok(())
}

/// What a field, or a field of a field, is set to.
fn found(message: &DynamicMessage, fields: &[FieldDescriptor]) -> Option<Value> {
    match fields {
        [] => None,
        [field] => message
            .has_field(field)
            .then(|| message.get_field(field).into_owned()),
        [outer, inner @ ..] => found(message.get_field(outer).as_message()?, inner),
    }
}

/// A field's value from texts, of which a list may have several. Texts are read as JSON has them, in which numbers, names of values,
/// times and masks may all be texts.
fn parse(fields: &[FieldDescriptor], name: &str, texts: &[String]) -> Result<Value, Wrong> {
    let (Some(field), Some(first)) = (fields.last(), texts.first()) else {
        return Err(Wrong::of(name, "is no parameter of this method"));
    };
    let as_json = |text: &String| match (field.kind(), text.as_str()) {
        (Kind::Bool, "true") => json!(true),
        (Kind::Bool, "false") => json!(false),
        (_, text) => json!(text),
    };
    let value = match (field.is_list(), texts.len()) {
        (true, _) => texts.iter().map(as_json).collect(),
        (false, 1) => as_json(first),
        (false, _) => return Err(Wrong::of(name, "is given more than once")),
    };
    let parent = field.parent_message().clone();
    let json = json!({ field.json_name(): value });
    let read = DynamicMessage::deserialize_with_options(parent, json, &DeserializeOptions::new());
    let read = read.map(|mut message| message.take_field(field));
    match read {
        Ok(Some(value)) => Ok(value),
        // As if it were left out.
        Ok(None) => Ok(Value::default_value_for_field(field)),
        Err(error) => Err(Wrong::of(name, format!("cannot be read: {error}"))),
    }
}

/// A message from JSON; none is an empty one.
fn read(of: &MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, Wrong> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(DynamicMessage::new(of.clone()));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let read = DynamicMessage::deserialize_with_options(of.clone(), tracked, &DeserializeOptions::new());
    let read = read.and_then(|message| json.end().map(|()| message));
    let read = read.map_err(|error| {
        let path = track.path();
        let within = path.to_string();
        // Where a name is not even begun its segment is unknown; and the root is a dot.
        let within = within.trim_end_matches(['?', '.']);
        let is_root = within.is_empty();
        let why = error.to_string();
        match why.strip_prefix(UNKNOWN).and_then(|rest| rest.split_once('\'')) {
            Some((name, _)) if is_root => Wrong::of(name, "is no field of this request"),
            Some((name, _)) => Wrong::of(format!("{within}.{name}"), "is no field of this request"),
            None => Wrong::of(within, format!("cannot be read: {why}")),
        }
    })?;
    check_lists(&read, "")?;
    Ok(read)
}

/// Whoever reads the message makes something of each element of a list, and of a megabyte of JSON that can be a third of a million: so a list that
/// no request has use for goes no further.
///
/// # Errors
/// One is longer than [`ELEMENTS_MAX`].
fn check_lists(message: &DynamicMessage, within: &str) -> Result<(), Wrong> {
    for (field, value) in message.fields() {
        let place = || match within {
            "" => field.json_name().to_owned(),
            within => format!("{within}.{}", field.json_name()),
        };
        match value {
            Value::Message(inner) => check_lists(inner, &place())?,
            Value::List(elements) if elements.len() > ELEMENTS_MAX => {
                return Err(Wrong::of(
                    place(),
                    format!("has more than {ELEMENTS_MAX} elements"),
                ));
            }
            Value::List(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    if let Value::Message(inner) = element {
                        check_lists(inner, &format!("{}[{at}]", place()))?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
