//! An operator with its accounts and users, like `nsc` creates them.
//!
//! Servers in operator mode know the operator and the account. They accept every user with valid credentials and apply
//! the permissions in them.

use std::time::SystemTime;

use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator with one account that has JetStream.
#[derive(Debug)]
pub struct Operator {
    account: KeyPair,
    config: String,
}

/// The subjects, with wildcards, that a user may access.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects that the user may publish to.
    pub publish: Vec<String>,
    /// Subjects that the user may subscribe to.
    pub subscribe: Vec<String>,
}

impl Operator {
    /// Creates an operator with new keys.
    ///
    /// # Panics
    ///
    /// Never: new keys are valid.
    #[allow(clippy::new_without_default, reason = "each operator has new keys")]
    pub fn new() -> Self {
        let (operator, account, system) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let of_operator = json!({
            "type": "operator",
            "version": 2,
            "system_account": system.public_key(),
        });
        let of_account = |jetstream: bool| {
            let mut limits = json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            });
            if jetstream {
                for (limit, value) in [
                    ("mem_storage", 0),
                    ("disk_storage", 1 << 30),
                    ("streams", 4),
                    ("consumer", -1),
                ] {
                    limits[limit] = value.into();
                }
            }
            json!({ "type": "account", "version": 2, "limits": limits })
        };
        let config = format!(
            "operator: \"{}\"\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: \"{}\", {}: \"{}\" }}\n",
            token(&operator, &operator, "killfeed's operator", of_operator, None),
            system.public_key(),
            account.public_key(),
            token(&operator, &account, "killfeed", of_account(true), None),
            system.public_key(),
            token(&operator, &system, "SYS", of_account(false), None),
        );
        Self { account, config }
    }

    /// Returns the text for the servers' configuration.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Returns the content of the `.creds` file of a new user, which expires at `until`.
    ///
    /// # Panics
    ///
    /// Never: a new key is valid.
    pub fn user(&self, permissions: &Permissions, until: Option<SystemTime>) -> String {
        let user = KeyPair::new_user();
        // Without a list NATS would allow everything.
        let allowed = |subjects: &[String]| match subjects {
            [] => json!({ "deny": [">"] }),
            subjects => json!({ "allow": subjects }),
        };
        let claims = json!({
            "type": "user",
            "version": 2,
            "pub": allowed(&permissions.publish),
            "sub": allowed(&permissions.subscribe),
            "subs": -1, "data": -1, "payload": -1,
        });
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\
             NKEYs are sensitive and should be treated as secrets.\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n\n\
             *************************************************************\n",
            token(&self.account, &user, "killfeed-ingestor", claims, until),
            user.seed().expect("a new key has its seed"),
        )
    }
}

/// Returns a JWT of version 2 in the format of nats-io/jwt.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Value, until: Option<SystemTime>) -> String {
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    };
    let mut claims = json!({
        "jti": subject.public_key(),
        "iat": seconds(SystemTime::now()),
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": name,
        "nats": nats,
    });
    if let Some(until) = until {
        claims["exp"] = seconds(until).into();
    }
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let signed = format!(
        "{}.{}",
        base64url(header.to_string().as_bytes()),
        base64url(claims.to_string().as_bytes())
    );
    let signature = issuer.sign(signed.as_bytes()).expect("a new key signs");
    format!("{signed}.{}", base64url(&signature))
}

/// Encodes without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_matches_rfc_4648() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64url(text.as_bytes()), encoded);
        }
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe]), "-__-");
    }
}
