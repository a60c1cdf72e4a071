//! A page of the guide, from the few words of Markdown that its authors use to a terminal's text and to troff.

use std::fmt::Write;

use crate::cli::style::{Style, Tone};

/// A part of a page.
#[derive(Debug, PartialEq, Eq)]
enum Block<'a> {
    Title(&'a str),
    Heading(&'a str),
    Paragraph(String),
    Item(String),
    /// What is printed as it is.
    Code(Vec<&'a str>),
    /// A row of a table: what it is about, then what each column says of it.
    Row(&'a str, Vec<(&'a str, &'a str)>),
}

/// What the page is called.
pub(super) fn title(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_start_matches("# ")
}

/// The page for people at a terminal.
pub(super) fn terminal(text: &str, style: Style) -> String {
    let parts = blocks(text).into_iter().map(|block| match block {
        Block::Title(text) | Block::Heading(text) => format!("{}\n\n", style.paint(Tone::Strong, text)),
        Block::Paragraph(text) => format!("{text}\n\n"),
        Block::Item(text) => format!("- {}\n\n", text.replace('\n', "\n  ")),
        Block::Code(lines) => {
            let mut out: String = lines.iter().map(|line| format!("    {line}\n")).collect();
            out.push('\n');
            out
        }
        Block::Row(about, cells) => {
            let mut out = format!("{}\n", style.paint(Tone::Strong, about));
            for (column, cell) in cells {
                // Writing to a String can't fail.
                let _ = writeln!(out, "    {column}: {cell}");
            }
            out.push('\n');
            out
        }
    });
    let mut out: String = parts.collect();
    out.truncate(out.trim_end().len());
    out
}

/// The page for man.
pub(super) fn man(name: &str, text: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let upper = name.to_uppercase();
    let mut out = format!(".TH FIELDGATE-GUIDE-{upper} 7 \"\" \"fieldgate {version}\" fieldgate\n");
    for block in blocks(text) {
        // Writing to a String can't fail.
        let _ = match block {
            Block::Title(text) => {
                let name = escaped(&format!("fieldgate-guide-{name}"));
                writeln!(out, ".SH NAME\n{name} \\- {}\n.SH DESCRIPTION", escaped(text))
            }
            Block::Heading(text) => writeln!(out, ".SH \"{}\"", escaped(text)),
            Block::Paragraph(text) => writeln!(out, ".PP\n{}", flowing(&text)),
            Block::Item(text) => writeln!(out, ".IP \\(bu 2\n{}", flowing(&text)),
            Block::Code(lines) => {
                let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
                writeln!(out, ".PP\n.RS 4\n.nf\n{}\n.fi\n.RE", lines.join("\n"))
            }
            Block::Row(about, cells) => {
                let cells: Vec<String> =
                    cells.iter().map(|(column, cell)| flowing(&format!("{column}: {cell}"))).collect();
                writeln!(out, ".TP\n{}\n{}", flowing(about), cells.join("\n.br\n"))
            }
        };
    }
    out + ".SH SEE ALSO\n.BR fieldgate (1),\n.BR fieldgate.toml (5)\n"
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut out = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            out.push(Block::Code(lines.by_ref().take_while(|line| !line.starts_with("```")).collect()));
        } else if let Some(text) = line.strip_prefix("# ") {
            out.push(Block::Title(text));
        } else if let Some(text) = line.strip_prefix("## ") {
            out.push(Block::Heading(text));
        } else if line.starts_with('|') {
            let header = cells(line);
            // The line between the header and the rows.
            lines.next();
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                let mut columns = header.iter().copied().zip(cells(row));
                let about = columns.next().map_or("", |(_, cell)| cell);
                out.push(Block::Row(about, columns.collect()));
            }
        } else if !line.is_empty() {
            let item = line.strip_prefix("- ");
            let mut text = item.unwrap_or(line).to_owned();
            while let Some(more) = lines.next_if(|line| !line.is_empty() && !is_start(line)) {
                text.push('\n');
                text.push_str(more.trim_start());
            }
            out.push(if item.is_some() { Block::Item(text) } else { Block::Paragraph(text) });
        }
    }
    out
}

/// Whether a line begins something of its own.
fn is_start(line: &str) -> bool {
    ["```", "- ", "#", "|"].iter().any(|mark| line.starts_with(mark))
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// Text that troff may break, line for line; what stands in backquotes or between double stars is bold.
fn flowing(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let mut out = String::new();
        for (number, part) in line.replace("**", "`").split('`').enumerate() {
            let part = if number == 0 { escaped(part) } else { inner(part) };
            let _ = if number % 2 == 1 { write!(out, "\\fB{part}\\fR") } else { write!(out, "{part}") };
        }
        out
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn inner(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq").replace('\'', "\\(aq")
}

/// As troff prints it as it is, also at the start of a line, where a point would be a command.
fn escaped(text: &str) -> String {
    let text = inner(text);
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# How\n\nOne `a-b`\ntwo.\n\n- x\n  y\n- z\n\n```sh\n.do \"it\"\n\nnow\n```\n\n## Then\n\n\
                        | | c |\n|---|---|\n| r | v |\n";

    #[test]
    fn a_page_is_taken_apart_as_it_is_written() {
        let expected = vec![
            Block::Title("How"),
            Block::Paragraph("One `a-b`\ntwo.".to_owned()),
            Block::Item("x\ny".to_owned()),
            Block::Item("z".to_owned()),
            Block::Code(vec![".do \"it\"", "", "now"]),
            Block::Heading("Then"),
            Block::Row("r", vec![("c", "v")]),
        ];
        assert_eq!(blocks(PAGE), expected);
        assert_eq!(title(PAGE), "How");
    }

    #[test]
    fn troff_gets_commands_of_ours_alone() {
        let page = man("how", PAGE);
        assert!(page.contains(".SH NAME\nfieldgate\\-guide\\-how \\- How\n.SH DESCRIPTION\n"), "{page}");
        assert!(page.contains(".PP\nOne \\fBa\\-b\\fR\ntwo.\n"), "{page}");
        assert!(page.contains(".nf\n\\&.do \\(dqit\\(dq\n\nnow\n.fi"), "{page}");
        assert!(page.contains(".TP\nr\nc: v\n"), "{page}");
    }
}
