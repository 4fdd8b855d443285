//! Finds the boundaries of gRPC messages in the bytes of an HTTP/2 connection.

use std::collections::HashMap;

use super::Cut;

/// The position in the server's half of a connection.
#[derive(Debug)]
pub(super) struct Messages {
    cut: Cut,
    passed: usize,
    /// The number of complete messages so far.
    whole: usize,
    frame: Frame,
    /// The position in the current message, by HTTP/2 stream.
    streams: HashMap<u32, Message>,
    over: bool,
}

#[derive(Debug, Default)]
struct Frame {
    header: Vec<u8>,
    left: usize,
    data_of: Option<u32>,
}

#[derive(Debug, Default)]
struct Message {
    prefix: Vec<u8>,
    length: usize,
    passed: usize,
}

impl Messages {
    pub(super) fn new(cut: Cut) -> Self {
        Self {
            over: matches!(cut, Cut::AfterBytes(0)),
            cut,
            passed: 0,
            whole: 0,
            frame: Frame::default(),
            streams: HashMap::new(),
        }
    }

    /// Returns whether the cut is reached.
    pub(super) fn over(&self) -> bool {
        self.over
    }

    /// Returns how many of these bytes pass before the cut.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            if self.over || self.cuts_before() {
                self.over = true;
                return at;
            }
            self.byte(*byte);
            self.passed += 1;
            self.over = match self.cut {
                Cut::AfterBytes(bytes) => self.passed >= bytes,
                Cut::AfterMessages(messages) => messages > 0 && self.whole >= messages,
                Cut::Never | Cut::InMessage(_) => false,
            };
        }
        bytes.len()
    }

    /// Returns whether the cut comes before the next byte.
    fn cuts_before(&self) -> bool {
        let in_data = self.frame.left > 0 && self.frame.data_of.is_some();
        let message = self.frame.data_of.and_then(|stream| self.streams.get(&stream));
        match self.cut {
            Cut::AfterMessages(0) => in_data,
            Cut::InMessage(index) => {
                let halfway = message.is_some_and(|message| {
                    message.prefix.len() == 5 && message.length > 0 && message.passed >= message.length.div_ceil(2)
                });
                in_data && self.whole == index && halfway
            }
            _ => false,
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.frame.left == 0 {
            self.frame.header.push(byte);
            if let &[a, b, c, kind, _, s, t, u, v] = self.frame.header.as_slice() {
                self.frame.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
                // Type 0 is DATA. The servers in these tests never pad frames.
                self.frame.data_of = (kind == 0).then_some(stream);
                self.frame.header.clear();
            }
            return;
        }
        self.frame.left -= 1;
        let Some(stream) = self.frame.data_of else { return };
        let message = self.streams.entry(stream).or_default();
        if message.prefix.len() < 5 {
            message.prefix.push(byte);
            if let &[_, a, b, c, d] = message.prefix.as_slice() {
                message.length = u32::from_be_bytes([a, b, c, d]) as usize;
            }
        } else {
            message.passed += 1;
        }
        if message.prefix.len() == 5 && message.passed == message.length {
            *message = Message::default();
            self.whole += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns SETTINGS, HEADERS of stream 1, and one DATA frame with messages of 3, 0 and 4 bytes.
    fn connection() -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        bytes.extend([0, 0, 2, 1, 4, 0, 0, 0, 1, 0x88, 0x88]);
        bytes.extend([0, 0, 22, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0, 0, 0, 0, 3, 1, 2, 3]);
        bytes.extend([0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 0, 0, 4, 1, 2, 3, 4]);
        bytes
    }

    /// Returns the number of bytes that pass, which must not depend on how the bytes are split.
    fn passes(cut: Cut) -> usize {
        let bytes = connection();
        let mut all = Messages::new(cut);
        let at_once = all.pass(&bytes);
        let mut each = Messages::new(cut);
        let one_by_one = bytes.iter().take_while(|byte| each.pass(&[**byte]) == 1).count();
        assert_eq!(at_once, one_by_one, "{cut:?}");
        at_once
    }

    #[test]
    fn connection_closes_at_the_configured_byte() {
        let (data, all) = (29, connection().len());
        for (cut, expected) in [
            (Cut::Never, all),
            (Cut::AfterBytes(7), 7),
            (Cut::AfterBytes(0), 0),
            (Cut::AfterMessages(0), data),
            (Cut::AfterMessages(1), data + 8),
            (Cut::AfterMessages(2), data + 13),
            (Cut::AfterMessages(3), all),
            (Cut::InMessage(0), data + 5 + 2),
            (Cut::InMessage(2), data + 13 + 5 + 2),
            (Cut::InMessage(9), all),
        ] {
            assert_eq!(passes(cut), expected, "{cut:?}");
        }
    }
}
