//! What a document says, as a hash that does not care how it was written.

use std::io::Write as _;

use killfeed::id::ContentHash;
use sha2::{Digest as _, Sha256};

use super::Node;

/// Version of the rules below. Whoever changes them counts it up: marks of older versions are then rewritten without a
/// new revision.
pub const CONTENT_HASH_VERSION: u8 = 1;

/// Say when and under which number it was uploaded, not what happened.
const NOT_CONTENT: [&str; 3] = ["sequence_id", "uploaded_at", "sequence_updated"];

/// The first 16 bytes of the SHA-256 of the canonical JSON: sorted keys, null = absent, numbers by value, no white space.
pub(super) fn content_hash(document: &Node<'_>) -> ContentHash {
    let mut text = Vec::with_capacity(4096);
    match document {
        Node::Object(fields) => object(
            fields
                .iter()
                .filter(|(key, _)| !NOT_CONTENT.contains(&key.as_ref()))
                .map(|(key, value)| (key.as_ref(), value)),
            &mut text,
        ),
        other => write(other, &mut text),
    }
    let full = Sha256::digest(&text);
    let mut digest = [0; 16];
    digest.copy_from_slice(&full[..16]);
    ContentHash {
        version: CONTENT_HASH_VERSION,
        digest,
    }
}

fn write(node: &Node<'_>, out: &mut Vec<u8>) {
    match node {
        Node::Null => out.extend_from_slice(b"null"),
        Node::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Node::Integer(value) => decimal(*value, out),
        Node::Float(value) => number(*value, out),
        Node::Text(value) => text(value, out),
        Node::List(list) => {
            out.push(b'[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(value, out);
            }
            out.push(b']');
        }
        Node::Object(fields) => object(fields.iter().map(|(key, value)| (key.as_ref(), value)), out),
    }
}

/// The fields come sorted; see [`Node::Object`].
fn object<'n, 'a: 'n>(fields: impl Iterator<Item = (&'n str, &'n Node<'a>)>, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (key, value) in fields.filter(|(_, value)| **value != Node::Null) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        text(key, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

/// A float that is whole reads as the integer it equals, so that 1 and 1.0 are one value; any other in Rust's shortest
/// form that reads back the same.
fn number(value: f64, out: &mut Vec<u8>) {
    // 2^64: beyond it JSON integers come as floats themselves.
    if value.fract() == 0.0 && value.abs() < 18_446_744_073_709_551_616.0 {
        decimal(value as i128, out);
    } else {
        out.extend_from_slice(format!("{value:e}").as_bytes());
    }
}

fn decimal(value: i128, out: &mut Vec<u8>) {
    // Writing to memory does not fail; the result says so for other writers.
    let _ = match i64::try_from(value) {
        Ok(value) => write!(out, "{value}"),
        Err(_) => write!(out, "{value}"),
    };
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if value.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F)) {
        for character in value.chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                '\0'..='\u{1F}' => out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes()),
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    } else {
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> String {
        let mut out = Vec::new();
        write(&Node::parse(json.as_bytes()).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_text_for_one_meaning() {
        for (json, expected) in [
            (r#"{"b":1.0,"a":null,"c":[1, null, -0.0]}"#, r#"{"b":1,"c":[1,null,0]}"#),
            (r#"{"a":1e3,"A":0.1,"a":2}"#, r#"{"A":1e-1,"a":2}"#),
            (r#""\u0041\n\"é""#, "\"A\\u000a\\\"é\""),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1e300", "1e300"),
            ("36893488147419103232", "3.6893488147419103e19"),
            ("[[],{},true,false]", "[[],{},true,false]"),
        ] {
            assert_eq!(canonical(json), expected, "{json}");
        }
    }

    #[test]
    fn the_rules_of_version_1_do_not_change_by_accident() {
        let json = r#"{"killmail_id":7,"zkb":{"totalValue":1.5,"labels":["solo"]},"sequence_id":1,"uploaded_at":2}"#;
        let hash = content_hash(&Node::parse(json.as_bytes()).unwrap());
        let hex: String = hash.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((hash.version, hex.as_str()), (1, "8e1561a0576c020fc2e426f8338af097"));
    }
}
