//! `docs/api/`, a page for each service, made from the contracts and their comments, so that it cannot say anything else.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use docket_engine::access::{Reach, Role, rule_of};
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api");

#[test]
fn the_pages_about_the_api_say_what_the_contracts_do() {
    let set = FileDescriptorSet::decode(docket_proto::FILE_DESCRIPTOR_SET).unwrap();
    let files: Vec<&FileDescriptorProto> = set
        .file
        .iter()
        .filter(|file| file.package() == "docket.v1")
        .collect();
    assert!(files.len() >= 6, "{} contracts", files.len());
    let mut pages: BTreeMap<String, String> = files
        .iter()
        .map(|file| (page_of(file), Page::of(file).text))
        .collect();
    pages.insert("README.md".to_owned(), index(&files));
    let is_to_write = std::env::var_os("DOCKET_WRITE_DOCS").is_some();
    for (name, page) in &pages {
        let path = Path::new(FOLDER).join(name);
        if is_to_write {
            std::fs::create_dir_all(FOLDER).unwrap();
            std::fs::write(&path, page).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == *page,
            "docs/api/{name} is not what the contracts say; run this with DOCKET_WRITE_DOCS=1 and look at what changes"
        );
    }
    let found = std::fs::read_dir(FOLDER).unwrap();
    let strays = found.filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        // Another test makes that one.
        (!pages.contains_key(&name) && name != "openapi.json").then_some(name)
    });
    assert_eq!(strays.collect::<Vec<_>>(), [""; 0]);
}

const HEAD: &str = "This page is made from the contracts (`proto/proto/docket/v1`): a test compares it, and `DOCKET_WRITE_DOCS=1 cargo test -p docket-proto \
                    --test it docs` writes it anew. Do not edit it by hand.\n";

fn index(files: &[&FileDescriptorProto]) -> String {
    let mut page = format!(
        "# The API\n\nPackage `docket.v1`, over gRPC, with reflection: `grpcurl` and the like need no files. {HEAD}\n\
         A request carries `authorization: Bearer TOKEN` or `x-api-key: KEY`. Money is an integer of minor units with one ISO 4217 code. \
         Errors have `google.rpc.ErrorInfo` with a reason (domain `docket`), and where they apply `BadRequest`, `PreconditionFailure`, \
         `QuotaFailure`, `RetryInfo` and `ResourceInfo`. A repeat under the same `request_id` is answered as the first was.\n\n"
    );
    page.push_str("What a role reaches: *all*, its *own* customer's and account's, or nothing (–).\n\n");
    page.push_str("| method | | customer | service | admin | scope |\n|---|---|---|---|---|---|\n");
    for file in files {
        let page_name = page_of(file);
        for (s, service) in file.service.iter().enumerate() {
            for (m, method) in service.method.iter().enumerate() {
                let path = format!("/docket.v1.{}/{}", service.name(), method.name());
                let rule = rule_of(&path).unwrap_or_else(|| panic!("{path} is in no row of the permissions"));
                let reach = |role| match rule.grant.map(|grant| grant.reach(role)) {
                    None | Some(Reach::Everything) => "all",
                    Some(Reach::Own) => "own",
                    Some(Reach::Nothing) => "–",
                };
                let scope = rule.grant.map_or_else(
                    || "none: no credential".to_owned(),
                    |grant| format!("`{}`", grant.scope),
                );
                let told = comment(file, &[6, s as i32, 2, m as i32]);
                let first = told.split_inclusive(". ").next().unwrap_or_default().trim();
                let first = first.split(": ").next().unwrap_or_default().trim_end_matches('.');
                writeln!(
                    page,
                    "| [`{}.{}`]({page_name}#{}) | {first} | {} | {} | {} | {scope} |",
                    service.name(),
                    method.name(),
                    method.name().to_lowercase(),
                    reach(Role::Customer),
                    reach(Role::Service),
                    reach(Role::Admin),
                )
                .unwrap();
            }
        }
    }
    page
}

/// The name of a file's page.
fn page_of(file: &FileDescriptorProto) -> String {
    let stem = file.name().rsplit('/').next().unwrap_or_default();
    format!("{}.md", stem.trim_end_matches(".proto"))
}

/// The comment in front of what this path leads to, as one paragraph a paragraph.
fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let info = file.source_code_info.as_ref().unwrap();
    let found = info.location.iter().find(|location| location.path == path);
    let text = found
        .map(|location| location.leading_comments())
        .unwrap_or_default();
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        lines.join(" ")
    });
    paragraphs
        .collect::<Vec<_>>()
        .join("\n\n")
        .trim()
        .replace('|', "\\|")
}

struct Page<'a> {
    file: &'a FileDescriptorProto,
    text: String,
}

impl<'a> Page<'a> {
    fn of(file: &'a FileDescriptorProto) -> Self {
        let mut page = Self {
            file,
            text: String::new(),
        };
        let stem = page_of(file);
        let stem = stem.trim_end_matches(".md");
        let title = file.service.first().map_or(stem, |service| service.name());
        writeln!(page.text, "# {title}\n\n{HEAD}").unwrap();
        for (s, service) in file.service.iter().enumerate() {
            page.told(&[6, s as i32]);
            for (m, method) in service.method.iter().enumerate() {
                page.method(method, &[6, s as i32, 2, m as i32]);
            }
        }
        page.text.push_str("## Messages\n\n");
        for (at, message) in file.message_type.iter().enumerate() {
            page.message(message, "", &[4, at as i32]);
        }
        for (at, of) in file.enum_type.iter().enumerate() {
            page.values(of, "", &[5, at as i32]);
        }
        page.text.truncate(page.text.trim_end().len());
        page.text.push('\n');
        page
    }

    fn told(&mut self, path: &[i32]) {
        let told = comment(self.file, path);
        assert!(!told.is_empty(), "{} {path:?} has no comment", self.file.name());
        writeln!(self.text, "{told}\n").unwrap();
    }

    fn method(&mut self, method: &MethodDescriptorProto, path: &[i32]) {
        let stream = |is: bool| if is { "stream of " } else { "" };
        writeln!(self.text, "## {}\n", method.name()).unwrap();
        let (asks, answers) = (
            self.type_name(method.input_type()),
            self.type_name(method.output_type()),
        );
        writeln!(
            self.text,
            "{}{asks} → {}{answers}\n",
            stream(method.client_streaming()),
            stream(method.server_streaming())
        )
        .unwrap();
        self.told(path);
    }

    fn message(&mut self, message: &DescriptorProto, within: &str, path: &[i32]) {
        // What a map is made of is no message of its own.
        if message
            .options
            .as_ref()
            .is_some_and(|options| options.map_entry())
        {
            return;
        }
        let name = format!("{within}{}", message.name());
        writeln!(self.text, "### {name}\n").unwrap();
        self.told(path);
        if !message.field.is_empty() {
            self.text.push_str("| field | type | |\n|---|---|---|\n");
        }
        for (at, field) in message.field.iter().enumerate() {
            let told = comment(self.file, &[path, &[2, at as i32]].concat()).replace("\n\n", "<br>");
            let one_of = (field.oneof_index.is_some() && !field.proto3_optional())
                .then(|| &message.oneof_decl[field.oneof_index() as usize]);
            let one_of = one_of.map_or_else(String::new, |of| format!(" (one of `{}`)", of.name()));
            let of = self.field_type(message, field);
            writeln!(
                self.text,
                "| `{}` = {} | {of}{one_of} | {told} |",
                field.name(),
                field.number()
            )
            .unwrap();
        }
        if !message.field.is_empty() {
            self.text.push('\n');
        }
        let within = format!("{name}.");
        for (at, nested) in message.nested_type.iter().enumerate() {
            self.message(nested, &within, &[path, &[3, at as i32]].concat());
        }
        for (at, nested) in message.enum_type.iter().enumerate() {
            self.values(nested, &within, &[path, &[4, at as i32]].concat());
        }
    }

    fn values(&mut self, of: &EnumDescriptorProto, within: &str, path: &[i32]) {
        writeln!(self.text, "### {within}{}\n", of.name()).unwrap();
        self.told(path);
        self.text.push_str("| value | |\n|---|---|\n");
        for (at, value) in of.value.iter().enumerate() {
            let told = comment(self.file, &[path, &[2, at as i32]].concat()).replace("\n\n", "<br>");
            writeln!(self.text, "| `{}` = {} | {told} |", value.name(), value.number()).unwrap();
        }
        self.text.push('\n');
    }

    fn field_type(&self, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
        let map = message.nested_type.iter().find(|nested| {
            nested.options.as_ref().is_some_and(|options| options.map_entry())
                && field.type_name().ends_with(&format!(".{}", nested.name()))
        });
        if let Some(map) = map {
            let [key, value] = &map.field[..] else {
                panic!("a map has keys and values")
            };
            return format!(
                "map of {} to {}",
                self.field_type(map, key),
                self.field_type(map, value)
            );
        }
        let of = match field.r#type() {
            Type::Message | Type::Enum => self.type_name(field.type_name()),
            scalar => format!(
                "`{}`",
                scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase()
            ),
        };
        match (field.label(), field.proto3_optional()) {
            (Label::Repeated, _) => format!("repeated {of}"),
            (_, true) => format!("optional {of}"),
            _ => of,
        }
    }

    /// A type's name, as a link where it has a place of its own.
    fn type_name(&self, name: &str) -> String {
        let full = name.trim_start_matches('.');
        let Some(own) = full.strip_prefix("docket.v1.") else {
            return format!("`{full}`");
        };
        let first = own.split('.').next().unwrap_or_default();
        let set = FileDescriptorSet::decode(docket_proto::FILE_DESCRIPTOR_SET).unwrap();
        let declares = |file: &&FileDescriptorProto| {
            file.package() == "docket.v1"
                && (file.message_type.iter().any(|message| message.name() == first)
                    || file.enum_type.iter().any(|of| of.name() == first))
        };
        let file = set.file.iter().find(declares).unwrap();
        let page = match file.name() == self.file.name() {
            true => String::new(),
            false => page_of(file),
        };
        // As those who render Markdown make anchors of headings.
        let anchor = own.to_lowercase().replace('.', "");
        format!("[`{own}`]({page}#{anchor})")
    }
}
