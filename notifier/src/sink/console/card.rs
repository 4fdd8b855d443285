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
    for embed in &post.message.embeds {
        if !out.is_empty() {
            out.push('\n');
        }
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
        let line = words(line, now);
        match channel.take() {
            Some(channel) => out.push_str(&headline(paint, embed.color, &line, Some(channel))),
            None => out.push_str(&body(paint, embed.color, &line)),
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

/// The bar, the text in bold, and at the right end the channel.
fn headline(paint: &Paint, color: u32, text: &str, channel: Option<&str>) -> String {
    let strong = paint.with(text, &[BOLD, &foreground(color)]);
    let line = match channel {
        None => strong,
        Some(channel) => {
            let used = 2 + text.chars().count() + channel.chars().count();
            let gap = " ".repeat(WIDTH.saturating_sub(used).max(2));
            format!("{strong}{gap}{}", paint.with(channel, &[DIM]))
        }
    };
    body(paint, color, &line)
}

fn body(paint: &Paint, color: u32, text: &str) -> String {
    format!("{} {text}\n", paint.with("▌", &[&foreground(color)]))
}

/// A field on one line: its label, then its lines side by side, wrapped where they are too long.
fn labelled(paint: &Paint, color: u32, field: &Field, now: i64) -> String {
    let label = paint.with(&format!("{:<LABEL$}", printable(&field.name)), &[DIM]);
    let room = WIDTH - 2 - LABEL;
    let mut lines: Vec<(String, usize)> = Vec::new();
    for part in field.value.lines() {
        let text = words(part, now);
        let length = text.chars().count();
        let strong = part.starts_with("**");
        let shown = if strong { paint.with(&text, &[BOLD]) } else { text };
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
    for (index, (line, _)) in lines.iter().enumerate() {
        let indent = if index == 0 { label.clone() } else { " ".repeat(LABEL) };
        out.push_str(&body(paint, color, &format!("{indent}{line}")));
    }
    out
}

/// [`plain`] for what names are part of: a killmail's link stands there once, so no name may look like one.
fn words(text: &str, now: i64) -> String {
    unlinked(&plain(text, now))
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
