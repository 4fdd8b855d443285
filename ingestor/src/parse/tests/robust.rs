//! Whatever comes in, nothing panics, and the way it is written does not matter.

use proptest::prelude::*;
use serde_json::Value;

use super::{super::*, document, sample};

/// Any JSON value, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,12}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The `place`-th value of the tree, counted modulo its size.
fn at(value: &mut Value, place: usize) -> &mut Value {
    fn size(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(size).sum(),
            Value::Object(map) => map.values().map(size).sum(),
            _ => 0,
        }
    }
    let mut left = place % size(value);
    let mut here = value;
    while left > 0 {
        left -= 1;
        let children: Vec<&mut Value> = match here {
            Value::Array(list) => list.iter_mut().collect(),
            Value::Object(map) => map.values_mut().collect(),
            _ => unreachable!("a leaf has size one"),
        };
        let mut next = None;
        for child in children {
            let inside = size(child);
            if left < inside {
                next = Some(child);
                break;
            }
            left -= inside;
        }
        here = next.expect("left is smaller than the children's sizes together");
    }
    here
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_panics_on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn nothing_panics_on_mutated_documents(
        changes in prop::collection::vec((any::<usize>(), any_json()), 1..4),
        esi in any_json(),
    ) {
        let mut value = sample();
        for (place, change) in changes {
            *at(&mut value, place) = change;
        }
        match parse(value.to_string().as_bytes()) {
            Ok(Parsed::NeedsBody(headless)) => { let _ = headless.with_body(esi.to_string().as_bytes()); }
            Ok(Parsed::Killmail(document)) => {
                prop_assert!(document.killmail.killmail_id != 0);
                prop_assert!(document.killmail.kill_time.is_some());
            }
            Ok(Parsed::Placeholder) => {}
            Err(reject) => prop_assert!(!reject.to_string().is_empty()),
        }
    }

    #[test]
    fn nothing_panics_on_cut_and_flipped_documents(cut in any::<usize>(), flips in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4)) {
        let mut text = sample().to_string().into_bytes();
        for (place, byte) in flips {
            let length = text.len();
            text[place % length] = byte;
        }
        text.truncate(cut % (text.len() + 1));
        let _ = parse(&text);
    }

    #[test]
    fn the_order_of_fields_and_white_space_do_not_change_the_hash(seed in any::<u64>()) {
        fn shuffled(value: &Value, random: &mut fastrand::Rng) -> String {
            match value {
                Value::Object(map) => {
                    let mut fields: Vec<_> = map.iter().collect();
                    random.shuffle(&mut fields);
                    let fields: Vec<_> = fields.into_iter()
                        .map(|(key, value)| format!(" {} :\n{}", Value::from(key.as_str()), shuffled(value, random)))
                        .collect();
                    format!("{{{}}}", fields.join(","))
                }
                Value::Array(list) => {
                    let list: Vec<_> = list.iter().map(|value| shuffled(value, random)).collect();
                    format!("[ {} ]", list.join(" ,"))
                }
                leaf => leaf.to_string(),
            }
        }
        let text = shuffled(&sample(), &mut fastrand::Rng::with_seed(seed));
        let Ok(Parsed::Killmail(read)) = parse(text.as_bytes()) else { panic!("a killmail: {text}") };
        prop_assert_eq!(*read, document(&sample()));
    }
}
