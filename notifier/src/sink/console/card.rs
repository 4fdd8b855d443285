//! A post as text for a terminal: what Discord would make of it, without Discord.

use crate::sink::{Destination, Embed, Field, Post};

/// Wide enough for names, narrow enough for a split screen.
const WIDTH: usize = 88;
/// `Final blow` is the longest label.
const LABEL: usize = 11;

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";

/// The whole post, an empty line after it. `now` in seconds since 1970.
pub(super) fn post(post: &Post, now: i64, colour: bool) -> String {
    let paint = Paint { colour };
    let channel = match post.destination {
        Destination::Channel(id) => format!("channel {id}"),
        Destination::Webhook(id) => format!("webhook {id}"),
    };
    let mut out = String::new();
    // The channel stands on the first line of each post, whatever the post is made of.
    let mut channel = Some(channel);
    if !post.message.content.is_empty() {
        for line in post.message.content.lines() {
            let line = plain(line, now);
            out.push_str(&headline(&paint, 0x0099_9999, &line, channel.take().as_deref()));
        }
    }
    // A mention belongs to the card below it, a link stands for a killmail of its own.
    let mut apart = post.message.content.contains("://");
    for embed in &post.message.embeds {
        if apart {
            out.push('\n');
        }
        apart = true;
        out.push_str(&card(&paint, embed, channel.take().as_deref(), now));
    }
    out.push('\n');
    out
}

fn card(paint: &Paint, embed: &Embed, channel: Option<&str>, now: i64) -> String {
    let mut out = String::new();
    if !embed.title.is_empty() {
        out.push_str(&headline(paint, embed.color, &words(&embed.title, now), channel));
    }
    let mut channel = if embed.title.is_empty() { channel } else { None };
    for line in embed.description.lines() {
        let line = described(line, now);
        match channel.take() {
            Some(channel) => out.push_str(&headline(paint, embed.color, &line, Some(channel))),
            None => {
                for part in wrapped(&line, WIDTH - 2) {
                    out.push_str(&body(paint, embed.color, &part));
                }
            }
        }
    }
    for field in &embed.fields {
        out.push_str(&labelled(paint, embed.color, field, now));
    }
    if !embed.url.is_empty() {
        let link = paint.with(&embed.url, &["\x1b[4m", DIM]);
        out.push_str(&body(paint, embed.color, &link));
    }
    if let Some(footer) = &embed.footer {
        let text = paint.with(&format!("↳ {}", unlinked(&printable(&footer.text))), &[DIM]);
        out.push_str(&body(paint, embed.color, &text));
    }
    out
}

/// The bar, the text in bold, and at the right end of its first line the channel.
fn headline(paint: &Paint, color: u32, text: &str, channel: Option<&str>) -> String {
    let beside = channel.map_or(0, |channel| channel.chars().count() + 2);
    let mut channel = channel;
    let mut out = String::new();
    for part in wrapped(text, (WIDTH - 2).saturating_sub(beside)) {
        let strong = paint.with(&part, &[BOLD, &foreground(color)]);
        let line = match channel.take() {
            None => strong,
            Some(channel) => {
                let used = 2 + part.chars().count() + channel.chars().count();
                let gap = " ".repeat(WIDTH.saturating_sub(used).max(2));
                format!("{strong}{gap}{}", paint.with(channel, &[DIM]))
            }
        };
        out.push_str(&body(paint, color, &line));
    }
    out
}

/// The text in lines of at most `width`, broken between words; a longer word stays whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if used == 0 || used + 1 + length <= width => {
                if used > 0 {
                    line.push(' ');
                    used += 1;
                }
                line.push_str(word);
                used += length;
            }
            _ => {
                lines.push(word.to_owned());
                used = length;
            }
        }
    }
    lines
}

fn body(paint: &Paint, color: u32, text: &str) -> String {
    format!("{} {text}\n", paint.with("▌", &[&foreground(color)]))
}

/// A field on one line: its label, then its lines side by side, wrapped where they are too long.
fn labelled(paint: &Paint, color: u32, field: &Field, now: i64) -> String {
    let name = printable(&field.name);
    let label = paint.with(&format!("{name:<LABEL$}"), &[DIM]);
    let room = WIDTH - 2 - LABEL;
    let mut lines: Vec<(String, usize)> = Vec::new();
    // Where a link stands by itself its address is what it is for; a killmail's own stands below.
    for part in field.value.split(" · ").filter(|_| field.name == "Links") {
        if let Some((_, url, _)) = link(part) {
            lines.push((paint.with(&printable(url), &["\x1b[4m", DIM]), 0));
        }
    }
    for part in field.value.lines().filter(|_| field.name != "Links") {
        let length = words(part, now).chars().count();
        // What Discord shows in bold is at the beginning, and is bold here too.
        let shown = match part.strip_prefix("**").and_then(|rest| rest.split_once("**")) {
            Some((strong, rest)) => paint.with(&words(strong, now), &[BOLD]) + &words(rest, now),
            None => words(part, now),
        };
        match lines.last_mut() {
            Some((line, used)) if *used + 3 + length <= room => {
                line.push_str(" · ");
                line.push_str(&shown);
                *used += 3 + length;
            }
            _ => lines.push((shown, length)),
        }
    }
    let mut out = String::new();
    // A label that leaves no room has a line of its own.
    let wide = name.chars().count() >= LABEL;
    if wide {
        out.push_str(&body(paint, color, &label));
    }
    for (index, (line, _)) in lines.iter().enumerate() {
        let indent = if index == 0 && !wide {
            label.clone()
        } else {
            " ".repeat(LABEL)
        };
        out.push_str(&body(paint, color, &format!("{indent}{line}")));
    }
    out
}

/// [`plain`] for what names are part of: a killmail's link stands there once, so no name may look like one.
fn words(text: &str, now: i64) -> String {
    unlinked(&plain(text, now))
}

/// [`words`] of a description, in which a link says where it leads: there it stands for a killmail.
fn described(line: &str, now: i64) -> String {
    let mut out = String::new();
    let mut rest = line;
    let next = |text: &str| {
        let brackets = text.match_indices('[').filter(|(at, _)| !text[..*at].ends_with('\\'));
        let mut links = brackets.map(|(at, _)| at).filter(|at| link(&text[*at..]).is_some());
        links.next()
    };
    while let Some(at) = next(rest) {
        let (before, linked) = rest.split_at(at);
        let Some((label, url, after)) = link(linked) else {
            break;
        };
        out.push_str(&format!(
            "{}{} {}",
            words(before, now),
            words(label, now),
            printable(url)
        ));
        rest = after;
    }
    out + &words(rest, now)
}

fn unlinked(text: &str) -> String {
    text.replace("://", ":/ /")
}

/// Discord's markdown as plain text: no stars, no backslashes, times as people say them.
fn plain(text: &str, now: i64) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(escaped) = rest.strip_prefix('\\') {
            if let Some(next) = escaped.chars().next() {
                out.push(next);
                rest = &escaped[next.len_utf8()..];
            } else {
                rest = escaped;
            }
        } else if let Some(after) = rest.strip_prefix("**") {
            rest = after;
        } else if let Some((label, _, after)) = link(rest) {
            out.push_str(&plain(label, now));
            rest = after;
        } else if let Some((seconds, after)) = timestamp(rest) {
            out.push_str(&ago(now - seconds));
            rest = after;
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    printable(&out)
}

/// `[label](url)` at the beginning of `text`: label, url, what comes after. A bracket of a name is escaped and begins none.
fn link(text: &str) -> Option<(&str, &str, &str)> {
    let (label, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (url, after) = rest.split_once(')')?;
    url.starts_with("https://").then_some((label, url, after))
}

/// `<t:1234:R>` at the beginning of `text`.
fn timestamp(text: &str) -> Option<(i64, &str)> {
    let (seconds, after) = text.strip_prefix("<t:")?.split_once(":R>")?;
    Some((seconds.parse().ok()?, after))
}

fn ago(seconds: i64) -> String {
    let (unit, name) = match seconds.abs() {
        0..60 => (1, "s"),
        60..3_600 => (60, "min"),
        3_600..172_800 => (3_600, "h"),
        _ => (86_400, "days"),
    };
    let number = seconds.abs() / unit;
    if seconds < 0 {
        format!("in {number} {name}")
    } else {
        format!("{number} {name} ago")
    }
}

/// A terminal obeys control characters, so none gets there.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn foreground(color: u32) -> String {
    let [_, red, green, blue] = color.to_be_bytes();
    format!("\x1b[38;2;{red};{green};{blue}m")
}

struct Paint {
    colour: bool,
}

impl Paint {
    fn with(&self, text: &str, codes: &[&str]) -> String {
        if self.colour {
            format!("{}{text}{RESET}", codes.concat())
        } else {
            text.to_owned()
        }
    }
}
