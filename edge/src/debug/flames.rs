//! A profile as a picture: a flame graph, which every browser shows. Width is processor time; what stands on a box was called by it.
//!
//! After Brendan Gregg's (<https://www.brendangregg.com/flamegraphs.html>), with nothing in it that moves: the whole name is shown under the pointer.

use std::{collections::BTreeMap, fmt::Write as _};

use super::pprof::Stack;

/// All of it, in pixels.
const WIDTH: f64 = 1_200.0;
const ROW: f64 = 16.0;
/// Room around it, and for the title.
const EDGE: f64 = 10.0;
const HEAD: f64 = 34.0;
/// What is narrower is not drawn: nobody would see it, and a deep profile has thousands.
const NARROWEST: f64 = 0.4;
/// A letter, in pixels, and boxes for fewer than so many have none.
const LETTER: f64 = 6.6;
const LETTERS_MIN: usize = 3;
/// Rows that are drawn; a recursion may be deeper.
const ROWS_MAX: usize = 400;

/// Something that was at work, and what it called.
#[derive(Default)]
struct Node<'a> {
    times: i64,
    calls: BTreeMap<&'a str, Node<'a>>,
}

impl Node<'_> {
    fn depth(&self) -> usize {
        1 + self.calls.values().map(Node::depth).max().unwrap_or(0)
    }
}

/// The picture of these stacks.
pub(super) fn svg(stacks: &[Stack], title: &str) -> String {
    let mut root = Node::default();
    for stack in stacks {
        let outermost_first = stack.frames.iter().rev().flat_map(|frame| frame.iter().rev());
        let names = outermost_first.map(|at| at.function.as_str());
        let mut node = &mut root;
        node.times += stack.times;
        for name in std::iter::once(stack.thread.as_str()).chain(names).take(ROWS_MAX) {
            node = node.calls.entry(name).or_default();
            node.times += stack.times;
        }
    }
    let rows = root.depth();
    let height = HEAD + ROW * rows as f64 + EDGE;
    let whole = WIDTH + 2.0 * EDGE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"{height}\" viewBox=\"0 0 {whole} {height}\" \
         font-family=\"monospace\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{EDGE}\" y=\"22\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    let all = root.times.max(1);
    let mut drawing = Drawing {
        svg: &mut svg,
        all,
        height,
    };
    drawing.draw("all", &root, 0, 0);
    svg.push_str("</svg>\n");
    svg
}

struct Drawing<'a> {
    svg: &'a mut String,
    all: i64,
    height: f64,
}

impl Drawing<'_> {
    /// Draws a node that begins behind so many looks, and what stands on it.
    fn draw(&mut self, name: &str, node: &Node<'_>, before: i64, row: usize) {
        let scale = WIDTH / self.all as f64;
        let width = node.times as f64 * scale;
        if width < NARROWEST {
            return;
        }
        let (x, y) = (
            EDGE + before as f64 * scale,
            self.height - EDGE - ROW * (row + 1) as f64,
        );
        let share = node.times as f64 * 100.0 / self.all as f64;
        // Writing to a text cannot fail.
        let _ = writeln!(
            self.svg,
            "<g><title>{} ({} looks, {share:.1} %)</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" \
             fill=\"{}\" rx=\"1\"/>{}</g>",
            escaped(name),
            node.times,
            ROW - 1.0,
            colour(name, row),
            label(name, width, (x + 3.0, y + ROW - 5.0)),
        );
        let mut before = before;
        for (name, call) in &node.calls {
            self.draw(name, call, before, row + 1);
            before += call.times;
        }
    }
}

/// As much of a name as there is room for.
fn label(name: &str, width: f64, (x, y): (f64, f64)) -> String {
    let letters = ((width - 6.0) / LETTER).max(0.0) as usize;
    if letters < LETTERS_MIN {
        return String::new();
    }
    let shown = match name.chars().count() <= letters {
        true => name.to_owned(),
        false => name.chars().take(letters - 1).chain(['…']).collect(),
    };
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(&shown))
}

/// Docket's own are warm, all others cool, and the threads at the bottom grey; neighbours differ a little.
fn colour(name: &str, row: usize) -> String {
    let shade = name
        .bytes()
        .fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
        % 24;
    match (row, name.contains("docket")) {
        (0 | 1, _) => "hsl(0,0%,85%)".to_owned(),
        (_, true) => format!("hsl({},85%,68%)", 20 + shade),
        (_, false) => format!("hsl({},40%,78%)", 195 + shade),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{super::pprof::At, *};

    fn stack(names: &[&str], times: i64) -> Stack {
        let at = |name: &&str| At {
            function: (*name).to_owned(),
            file: String::new(),
            line: 0,
        };
        Stack {
            thread: "worker".to_owned(),
            frames: names.iter().rev().map(|name| vec![at(name)]).collect(),
            times,
        }
    }

    #[test]
    fn what_was_called_stands_on_its_caller_and_is_as_wide_as_it_took_time() {
        let svg = svg(
            &[
                stack(&["main", "docket_engine::decide<T>"], 3),
                stack(&["main", "tokio::park"], 1),
            ],
            "a & b",
        );
        let line = |part: &str| {
            svg.lines()
                .find(|line| line.contains(part))
                .unwrap_or_else(|| panic!("{svg}"))
        };
        let number = |line: &str, name: &str| -> f64 {
            let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        let (main, decide, park) = (
            line(">main ("),
            line("decide&lt;T&gt; (3 looks, 75.0 %)"),
            line("tokio::park ("),
        );
        assert_eq!(number(main, "width"), WIDTH);
        assert_eq!(
            (number(decide, "width"), number(park, "width")),
            (WIDTH * 0.75, WIDTH * 0.25)
        );
        assert_eq!(number(park, "x"), number(decide, "x") + number(decide, "width"));
        assert_eq!(number(decide, "y"), number(main, "y") - ROW);
        assert!(
            decide.contains("hsl(2") || decide.contains("hsl(3") || decide.contains("hsl(4"),
            "{decide}"
        );
        assert!(svg.contains("a &amp; b") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn what_nobody_would_see_is_not_drawn() {
        let drawn = svg(&[stack(&["wide"], 100_000), stack(&["narrow"], 1)], "");
        assert!(drawn.contains("wide") && !drawn.contains("narrow"));
        let deep = ["f"; 2_000];
        assert!(svg(&[stack(&deep, 1)], "").lines().count() <= ROWS_MAX + 5);
        assert!(svg(&[], "nothing").contains("nothing"));
    }
}
