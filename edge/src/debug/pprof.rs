//! Profiles in the format of `pprof` (github.com/google/pprof, `proto/profile.proto`): what of its messages is needed here, with its numbers.

use std::collections::HashMap;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub(super) sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub(super) sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub(super) location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub(super) function: Vec<Function>,
    /// Every text of the profile; others refer to it by its place. The first is empty.
    #[prost(string, repeated, tag = "6")]
    pub(super) string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    pub(super) time_nanos: i64,
    #[prost(int64, tag = "10")]
    pub(super) duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub(super) period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub(super) period: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct ValueType {
    #[prost(int64, tag = "1")]
    pub(super) r#type: i64,
    #[prost(int64, tag = "2")]
    pub(super) unit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sample {
    /// The innermost first.
    #[prost(uint64, repeated, tag = "1")]
    pub(super) location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub(super) value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Label {
    #[prost(int64, tag = "1")]
    pub(super) key: i64,
    #[prost(int64, tag = "2")]
    pub(super) str: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Location {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    /// The innermost of those that were inlined there first.
    #[prost(message, repeated, tag = "4")]
    pub(super) line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Line {
    #[prost(uint64, tag = "1")]
    pub(super) function_id: u64,
    #[prost(int64, tag = "2")]
    pub(super) line: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub(super) struct Function {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(int64, tag = "2")]
    pub(super) name: i64,
    #[prost(int64, tag = "3")]
    pub(super) system_name: i64,
    #[prost(int64, tag = "4")]
    pub(super) filename: i64,
}

/// A function that was at work, at a line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct At {
    pub(super) function: String,
    pub(super) file: String,
    pub(super) line: u32,
}

/// So often a thread was seen at work at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    pub(super) thread: String,
    /// The innermost first; of each place those that were inlined there, the innermost first.
    pub(super) frames: Vec<Vec<At>>,
    pub(super) times: i64,
}

/// When stacks were looked at, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) began_ns: i64,
    pub(super) lasted_ns: i64,
    pub(super) period_ns: i64,
}

/// Puts a profile together.
#[derive(Default)]
struct Tables {
    texts: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<Vec<Line>, u64>,
    profile: Profile,
}

/// The profile of these stacks.
pub(super) fn profile(stacks: &[Stack], timing: Timing) -> Profile {
    let mut tables = Tables::default();
    tables.text("");
    let kind = |tables: &mut Tables, name: &str, unit: &str| ValueType {
        r#type: tables.text(name),
        unit: tables.text(unit),
    };
    let samples = kind(&mut tables, "samples", "count");
    let cpu = kind(&mut tables, "cpu", "nanoseconds");
    let thread = tables.text("thread");
    for stack in stacks {
        let location_id = stack.frames.iter().map(|frame| tables.location(frame)).collect();
        let label = Label {
            key: thread,
            str: tables.text(&stack.thread),
        };
        tables.profile.sample.push(Sample {
            location_id,
            value: vec![stack.times, stack.times.saturating_mul(timing.period_ns)],
            label: vec![label],
        });
    }
    Profile {
        sample_type: vec![samples, cpu],
        time_nanos: timing.began_ns,
        duration_nanos: timing.lasted_ns,
        period_type: Some(cpu),
        period: timing.period_ns,
        ..tables.profile
    }
}

impl Tables {
    fn text(&mut self, text: &str) -> i64 {
        if let Some(at) = self.texts.get(text) {
            return *at;
        }
        let at = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.texts.insert(text.to_owned(), at);
        at
    }

    fn location(&mut self, frame: &[At]) -> u64 {
        let line: Vec<Line> = frame
            .iter()
            .map(|at| Line {
                function_id: self.function(at),
                line: i64::from(at.line),
            })
            .collect();
        if let Some(id) = self.locations.get(&line) {
            return *id;
        }
        let id = self.profile.location.len() as u64 + 1;
        self.locations.insert(line.clone(), id);
        self.profile.location.push(Location { id, line });
        id
    }

    fn function(&mut self, at: &At) -> u64 {
        let (name, filename) = (self.text(&at.function), self.text(&at.file));
        if let Some(id) = self.functions.get(&(name, filename)) {
            return *id;
        }
        let id = self.profile.function.len() as u64 + 1;
        self.functions.insert((name, filename), id);
        self.profile.function.push(Function {
            id,
            name,
            system_name: name,
            filename,
        });
        id
    }
}

/// The same for whatever draws flames: a line a stack, the outermost first, and how often.
pub(super) fn folded(stacks: &[Stack]) -> String {
    let mut lines: Vec<String> = stacks
        .iter()
        .map(|stack| {
            let mut line = word(&stack.thread);
            for frame in stack.frames.iter().rev() {
                for at in frame.iter().rev() {
                    line.push(';');
                    line.push_str(&word(&at.function));
                }
            }
            format!("{line} {}\n", stack.times)
        })
        .collect();
    lines.sort_unstable();
    lines.concat()
}

/// A name as it may stand between semicolons.
fn word(name: &str) -> String {
    name.replace([';', '\n'], ":")
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn at(function: &str, line: u32) -> At {
        At {
            function: function.to_owned(),
            file: format!("{function}.rs"),
            line,
        }
    }

    fn stacks() -> Vec<Stack> {
        vec![
            Stack {
                thread: "worker".to_owned(),
                frames: vec![vec![at("inlined", 3), at("decide", 7)], vec![at("main", 1)]],
                times: 5,
            },
            Stack {
                thread: "journal".to_owned(),
                frames: vec![vec![at("decide", 7)], vec![at("main", 1)]],
                times: 2,
            },
        ]
    }

    #[test]
    fn every_text_function_and_place_is_in_it_once() {
        let timing = Timing {
            began_ns: 1,
            lasted_ns: 2_000,
            period_ns: 10,
        };
        let bytes = profile(&stacks(), timing).encode_to_vec();
        let read = Profile::decode(&*bytes).unwrap();
        let text = |at: i64| read.string_table[at as usize].as_str();
        assert_eq!(text(0), "");
        let mut texts = read.string_table.clone();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), read.string_table.len());
        let names: Vec<&str> = read.function.iter().map(|it| text(it.name)).collect();
        assert_eq!(names, ["inlined", "decide", "main"]);
        // `decide` with something inlined in it is another place than without.
        assert_eq!(read.location.len(), 3);
        let innermost = &read.location[read.sample[0].location_id[0] as usize - 1];
        let lines: Vec<(u64, i64)> = innermost
            .line
            .iter()
            .map(|line| (line.function_id, line.line))
            .collect();
        assert_eq!(lines, [(1, 3), (2, 7)]);
        assert_eq!(read.sample[0].location_id[1], read.sample[1].location_id[1]);
        assert_eq!(read.sample[1].value, [2, 20]);
        let label = read.sample[1].label[0];
        assert_eq!((text(label.key), text(label.str)), ("thread", "journal"));
        assert_eq!(read.period_type, Some(read.sample_type[1]));
        assert_eq!((read.period, read.duration_nanos), (10, 2_000));
    }

    #[test]
    fn a_line_a_stack_has_the_outermost_first() {
        let mut stacks = stacks();
        stacks[1].frames[0][0].function = "a;b".to_owned();
        assert_eq!(
            folded(&stacks),
            "journal;main;a:b 2\nworker;main;decide;inlined 5\n"
        );
    }
}
