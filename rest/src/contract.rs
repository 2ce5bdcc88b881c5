//! The contract that is compiled in, with the routes laid over it: whatever does not fit is found when it is made.

use std::sync::Arc;

use docket_proto::FILE_DESCRIPTOR_SET;
use http::Method;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    SerializeOptions,
};

use crate::{
    asked::Asked,
    routes::{Body, ROUTES, Rule, Verb},
    template::{Path, Template},
};

/// How replies are written: all that has no presence is there, so that an empty list is one and nothing on hand is "0".
const SHOWN: SerializeOptions = SerializeOptions::new().skip_default_fields(false);
/// The service whose methods there are, and more.
const PACKAGE: &str = "docket.v1";

/// Why there are no routes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The contract cannot be read.
    #[error("the contract that is compiled in cannot be read: {0}")]
    Unreadable(String),
    /// A route leads to nothing.
    #[error("the route {path} of {method} does not fit the contract: {why}")]
    Route {
        /// The method.
        method: &'static str,
        /// The path.
        path: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A reply is none of the contract.
    #[error("a reply of {method} is not what the contract says: {why}")]
    Reply {
        /// The method.
        method: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// One method of the contract and how it is reached.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) rule: &'static Rule,
    pub(crate) template: Template,
    /// The fields that the path says, in the order of the template's variables.
    pub(crate) bound: Vec<Vec<FieldDescriptor>>,
    /// The field that is the body, where one is.
    pub(crate) body: Option<FieldDescriptor>,
    pub(crate) method: MethodDescriptor,
    pub(crate) input: MessageDescriptor,
    output: MessageDescriptor,
}

impl Route {
    fn of(rule: &'static Rule, pool: &DescriptorPool) -> Result<Self, ContractError> {
        let wrong = |why: String| ContractError::Route {
            method: rule.method,
            path: rule.path,
            why,
        };
        let method = method_of(pool, rule.method).ok_or_else(|| wrong("there is no such method".into()))?;
        let template = Template::of(rule.path).ok_or_else(|| wrong("it cannot be read".into()))?;
        let input = method.input();
        let bound = template.variables.iter().map(|variable| {
            fields_of(&input, variable.field)
                .filter(|fields| fields.last().is_some_and(is_text_in_a_path))
                .ok_or_else(|| wrong(format!("{} has no such field {}", input.name(), variable.field)))
        });
        let bound = bound.collect::<Result<Vec<_>, _>>()?;
        let body = match rule.body {
            Body::None | Body::Whole => None,
            Body::Field(name) => {
                let field = input.get_field_by_name(name);
                let field =
                    field.filter(|field| matches!(field.kind(), Kind::Message(_)) && !field.is_list());
                Some(field.ok_or_else(|| wrong(format!("{} has no message {name}", input.name())))?)
            }
        };
        let output = method.output();
        Ok(Self {
            rule,
            template,
            bound,
            body,
            method,
            input,
            output,
        })
    }

    /// The method, as gRPC has it.
    pub fn method(&self) -> &'static str {
        self.rule.method
    }

    /// Whether it answers with a stream.
    pub fn streams(&self) -> bool {
        self.method.is_server_streaming()
    }

    /// Whether a request has a body.
    pub fn has_body(&self) -> bool {
        self.rule.body != Body::None
    }

    /// Whether it only reads, and may be asked again. What is asked for by another verb may be done once it is answered.
    pub fn only_reads(&self) -> bool {
        self.rule.verb == Verb::Get
    }

    /// A reply, as gRPC has it, as JSON.
    ///
    /// # Errors
    /// Where it is none of this method.
    pub fn json(&self, message: &[u8]) -> Result<Vec<u8>, ContractError> {
        self.read(message).and_then(|message| self.write(&message))
    }

    /// The same of a reply of a stream, and the token behind it, where it has one.
    ///
    /// # Errors
    /// Where it is none of this method.
    pub fn json_and_token(&self, message: &[u8]) -> Result<(Vec<u8>, Option<String>), ContractError> {
        let message = self.read(message)?;
        let token = message.get_field_by_name("resume_token");
        let token = token.and_then(|token| token.as_str().map(str::to_owned));
        Ok((self.write(&message)?, token))
    }

    fn read(&self, message: &[u8]) -> Result<DynamicMessage, ContractError> {
        DynamicMessage::decode(self.output.clone(), message).map_err(|error| self.wrong(&error))
    }

    fn write(&self, message: &DynamicMessage) -> Result<Vec<u8>, ContractError> {
        let mut json = serde_json::Serializer::new(Vec::new());
        let written = message.serialize_with_options(&mut json, &SHOWN);
        written.map_err(|error| self.wrong(&error))?;
        Ok(json.into_inner())
    }

    fn wrong(&self, error: &dyn std::fmt::Display) -> ContractError {
        ContractError::Reply {
            method: self.rule.method,
            why: error.to_string(),
        }
    }
}

/// What somebody asks for by verb and path.
#[derive(Debug)]
pub enum Found {
    /// This.
    Asked(Asked),
    /// There is such a path, for these verbs.
    OtherVerbs(Vec<&'static str>),
    /// A part of the path is no text.
    NoText,
    /// Nothing that there is.
    Nothing,
}

/// Every route. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Gateway {
    routes: Arc<[Arc<Route>]>,
    pub(crate) pool: DescriptorPool,
}

impl Gateway {
    /// Of the contract that is compiled in.
    ///
    /// # Errors
    /// Where the routes do not fit it.
    pub fn new() -> Result<Self, ContractError> {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET);
        let pool = pool.map_err(|error| ContractError::Unreadable(error.to_string()))?;
        let routes = ROUTES.iter().map(|rule| Route::of(rule, &pool).map(Arc::new));
        let routes = routes.collect::<Result<_, _>>()?;
        Ok(Self { routes, pool })
    }

    /// Every route, in the order of the table.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(|route| &**route)
    }

    /// What is asked for with this verb, path and query.
    pub fn find(&self, verb: &Method, path: &str, query: Option<&str>) -> Found {
        let Some(path) = Path::of(path) else {
            return Found::Nothing;
        };
        let mut others = Vec::new();
        for route in self.routes.iter().filter(|route| route.template.fits(&path)) {
            if route.rule.verb.as_str() == verb.as_str() {
                return match route.template.captured(&path) {
                    Some(captured) => Found::Asked(Asked::new(Arc::clone(route), captured, query)),
                    None => Found::NoText,
                };
            }
            others.push(route.rule.verb.as_str());
        }
        match others.is_empty() {
            true => Found::Nothing,
            false => Found::OtherVerbs(others),
        }
    }

    /// Every method of the contract, as gRPC has it.
    pub fn methods(&self) -> Vec<String> {
        let services = self.pool.services();
        let services = services.filter(|service| service.package_name() == PACKAGE);
        let methods = services.flat_map(|service| {
            let methods: Vec<String> = service
                .methods()
                .map(|method| format!("/{}/{}", service.full_name(), method.name()))
                .collect();
            methods
        });
        methods.collect()
    }
}

fn method_of(pool: &DescriptorPool, path: &str) -> Option<MethodDescriptor> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = pool.get_service_by_name(service)?;
    service.methods().find(|found| found.name() == method)
}

/// The fields that lead to the one that is named so, with dots between them: by their names in the contract or in JSON.
pub(crate) fn fields_of(message: &MessageDescriptor, name: &str) -> Option<Vec<FieldDescriptor>> {
    let (mut within, mut fields) = (Some(message.clone()), Vec::new());
    for part in name.split('.') {
        let message = within.take()?;
        let field = message
            .get_field_by_name(part)
            .or_else(|| message.get_field_by_json_name(part))?;
        if let Kind::Message(inner) = field.kind()
            && !field.is_list()
        {
            within = Some(inner);
        }
        fields.push(field);
    }
    Some(fields)
}

fn is_text_in_a_path(field: &FieldDescriptor) -> bool {
    !field.is_list() && matches!(field.kind(), Kind::String | Kind::Uint64)
}
