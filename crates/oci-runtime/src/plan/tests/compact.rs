//! `{:#?}` for reading: what is empty, false or 0 is left out, and what fits stands on one line.

/// Columns of a line.
const WIDTH: usize = 118;

/// A line of the pretty form that holds others, or one that does not.
enum Node<'a> {
    Leaf(&'a str),
    Group(&'a str, Vec<Node<'a>>, &'a str),
}

/// The compact form of what `{:#?}` or `{:#x?}` gives, without the structs of the name `bulky`.
pub(super) fn compact(pretty: &str, bulky: &str) -> String {
    let mut lines = pretty.lines().map(|line| line.trim().trim_end_matches(','));
    let mut text = String::new();
    for node in nodes(&mut lines, bulky).0 {
        text.push_str(&wrapped(&node, 0));
        text.push('\n');
    }
    text
}

/// The lines up to the end of the group that they are in, and that end.
fn nodes<'a>(lines: &mut impl Iterator<Item = &'a str>, bulky: &str) -> (Vec<Node<'a>>, &'a str) {
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        if matches!(line, "}" | "]" | ")") {
            return (all, line);
        }
        // A string that ends like this ends with a quote.
        all.push(match line.ends_with(['{', '[', '(']) {
            true => {
                let (inner, end) = nodes(lines, bulky);
                let keep = |node: &Node<'_>| !is_empty(node) && !is_named(node, bulky);
                Node::Group(line, inner.into_iter().filter(keep).collect(), end)
            }
            false => Node::Leaf(line),
        });
    }
    (all, "")
}

/// A field without a value worth telling. Elements of lists and tuples have no name, and stay.
fn is_empty(node: &Node<'_>) -> bool {
    match node {
        Node::Leaf(line) => {
            let value = line
                .split_once(": ")
                .filter(|(name, _)| is_name(name))
                .map(|(_, value)| value);
            value.is_some_and(|value| matches!(value, "None" | "[]" | "{}" | "\"\"" | "false" | "0x0" | "0"))
        }
        Node::Group(head, inner, _) => inner.is_empty() && head.split_once(": ").is_some_and(|(name, _)| is_name(name)),
    }
}

fn is_named(node: &Node<'_>, name: &str) -> bool {
    matches!(node, Node::Group(head, ..) if head.strip_suffix(" {") == Some(name))
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn flat(node: &Node<'_>) -> String {
    match node {
        Node::Leaf(line) => (*line).to_owned(),
        Node::Group(head, inner, end) => {
            let inner: Vec<String> = inner.iter().map(flat).collect();
            let space = if head.ends_with('{') { " " } else { "" };
            format!("{head}{space}{}{space}{end}", inner.join(", "))
        }
    }
}

fn wrapped(node: &Node<'_>, indent: usize) -> String {
    let one = flat(node);
    let Node::Group(head, inner, end) = node else {
        return one;
    };
    if indent + one.len() < WIDTH {
        return one;
    }
    let deeper = indent + 2;
    let mut text = (*head).to_owned();
    // Elements of a list that are one word each fill the line; all else gets one of its own.
    let fills = head.ends_with('[') && inner.iter().all(|node| matches!(node, Node::Leaf(_)));
    let mut column = WIDTH;
    for node in inner {
        let item = wrapped(node, deeper) + ",";
        if fills && column + 1 + item.len() < WIDTH {
            text = text + " " + &item;
            column += 1 + item.len();
        } else {
            text = format!("{text}\n{:deeper$}{item}", "");
            column = deeper + item.len();
        }
    }
    format!("{text}\n{:indent$}{end}", "")
}

#[test]
fn what_says_nothing_is_left_out_and_what_fits_is_joined() {
    #[derive(Debug)]
    #[allow(dead_code, reason = "printed only")]
    struct Sample {
        none: Option<u8>,
        number: u8,
        zero: u8,
        list: Vec<(u8, &'static str)>,
        inner: Option<Box<Sample>>,
    }
    let sample = |inner| Sample {
        none: None,
        number: 16,
        zero: 0,
        list: vec![(0, "a: 0x0"), (1, "")],
        inner,
    };
    let small = r#"Sample { number: 0x10, list: [(0x0, "a: 0x0"), (0x1, "")] }"#;
    assert_eq!(compact(&format!("{:#x?}", sample(None)), "None"), format!("{small}\n"));
    let nested = format!("{:#x?}", sample(Some(Box::new(sample(None)))));
    let wide =
        format!("Sample {{\n  number: 0x10,\n  list: [(0x0, \"a: 0x0\"), (0x1, \"\")],\n  inner: Some({small}),\n}}\n");
    assert_eq!(compact(&nested, "None"), wide);
    let words = format!("{:#?}", [[1234; 40].as_slice(), &[5]]);
    let fourty = ["1234,"; 40].join(" ");
    let (first, second) = fourty.split_at(19 * 6 - 1);
    let filled = format!("[\n  [\n    {first}\n    {}\n  ],\n  [5],\n]\n", &second[1..]);
    let first_line = filled.lines().nth(2).unwrap();
    assert!(
        first_line.len() <= WIDTH && compact(&words, "").lines().nth(2) == Some(first_line),
        "{filled}"
    );
}
