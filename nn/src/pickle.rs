//! Just enough of Python's pickle to find the tensors in a PyTorch checkpoint. Nothing that the pickle names is run: a
//! call is a value like any other.
//!
//! Values lie in one list and refer to each other by index, so that no nesting, sharing or circle in the pickle costs more
//! memory or stack than its length: an opcode makes at most one value.

use std::collections::BTreeMap;

/// A value's place.
pub(crate) type Id = usize;

/// A value of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `module name`: a class or function, by name.
    Global(String, String),
    /// A text.
    Text(String),
    /// An integer of at most 64 bits.
    Int(i64),
    /// None, a truth value, a float, or an empty instance: nothing that describes a tensor.
    Other,
    /// A tuple or list.
    Sequence(Vec<Id>),
    /// A dictionary: later entries count.
    Dict(Vec<(Id, Id)>),
    /// A function and the tuple of its arguments, not called.
    Call(Id, Id),
    /// Something stored beside the pickle.
    Persistent(Id),
}

/// A pickle's values.
#[derive(Debug, Default)]
pub(crate) struct Pickle {
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl Pickle {
    /// Reads a pickle; its values and the outermost one's place.
    ///
    /// # Errors
    /// What is wrong and at which byte.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, Id), String> {
        let mut pickle = Self::default();
        let mut rest = bytes;
        loop {
            let at = bytes.len() - rest.len();
            match pickle.step(&mut rest) {
                Ok(None) => {}
                Ok(Some(root)) => return Ok((pickle, root)),
                Err(problem) => return Err(format!("{problem} at byte {at}")),
            }
        }
    }

    /// The value at `id`, which comes from this pickle.
    pub(crate) fn get(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::Other)
    }

    /// Runs one opcode; the outermost value at the end.
    fn step(&mut self, rest: &mut &[u8]) -> Result<Option<Id>, String> {
        let [code] = take(rest)?;
        match code {
            0x80 => {
                let [_protocol] = take(rest)?;
            }
            b'c' => {
                let value = Value::Global(line(rest)?, line(rest)?);
                self.push(value);
            }
            b'X' => {
                let length = u32::from_le_bytes(take(rest)?) as usize;
                let (text, after) = rest.split_at_checked(length).ok_or("a text is cut off")?;
                *rest = after;
                let text = str::from_utf8(text).map_err(|error| error.to_string())?;
                self.push(Value::Text(text.to_owned()));
            }
            b'J' => self.push(Value::Int(i32::from_le_bytes(take(rest)?).into())),
            b'K' => self.push(Value::Int(u8::from_le_bytes(take(rest)?).into())),
            b'M' => self.push(Value::Int(u16::from_le_bytes(take(rest)?).into())),
            0x8a => {
                let [length] = take(rest)?;
                let (bytes, after) = rest.split_at_checked(length.into()).ok_or("an integer is cut off")?;
                *rest = after;
                self.push(long(bytes));
            }
            b'G' => {
                take::<8>(rest)?;
                self.push(Value::Other);
            }
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b')' | b']' => self.push(Value::Sequence(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b'(' => self.marks.push(self.stack.len()),
            b't' | b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Sequence(items));
            }
            b'd' => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.push(Value::Dict(entries));
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or("too few values for a tuple")?;
                let items = self.stack.split_off(start);
                self.push(Value::Sequence(items));
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                let value = match self.get(callee) {
                    Value::Global(module, name)
                        if module == "collections"
                            && ["OrderedDict", "defaultdict"].contains(&name.as_str()) =>
                    {
                        Value::Dict(Vec::new())
                    }
                    _ => Value::Call(callee, arguments),
                };
                self.push(value);
            }
            // An instance's attributes describe no tensor.
            b'b' => {
                self.pop()?;
            }
            b'q' => self.remember(u8::from_le_bytes(take(rest)?).into())?,
            b'r' => self.remember(u32::from_le_bytes(take(rest)?))?,
            b'h' => self.recall(u8::from_le_bytes(take(rest)?).into())?,
            b'j' => self.recall(u32::from_le_bytes(take(rest)?))?,
            b'a' => {
                let item = self.pop()?;
                self.extend_sequence(&[item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend_sequence(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.extend_dict(&items)?;
            }
            b'.' => return self.pop().map(Some),
            other => return Err(format!("opcode {other:#04x} is none that PyTorch's checkpoints have")),
        }
        Ok(None)
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// The topmost value since the last mark.
    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("a value is missing".to_owned());
        }
        self.stack.pop().ok_or_else(|| "a value is missing".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("a mark is missing")?))
    }

    /// The value that stays on the stack.
    fn top(&mut self) -> Result<&mut Value, String> {
        let top = self.stack.last().and_then(|id| self.values.get_mut(*id));
        top.ok_or_else(|| "a value is missing".to_owned())
    }

    fn extend_sequence(&mut self, items: &[Id]) -> Result<(), String> {
        match self.top()? {
            Value::Sequence(sequence) => sequence.extend_from_slice(items),
            _ => return Err("an item for what is no list".to_owned()),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<(), String> {
        let entries = pairs(items)?;
        match self.top()? {
            Value::Dict(dict) => dict.extend(entries),
            // An instance of a class that is filled like a dictionary.
            Value::Call(..) => {}
            _ => return Err("an entry for what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let id = *self.stack.last().ok_or("a value is missing")?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let id = *self.memo.get(&key).ok_or_else(|| format!("nothing was remembered as {key}"))?;
        self.stack.push(id);
        Ok(())
    }
}

/// The next `N` bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (bytes, after) = rest.split_first_chunk().ok_or("it is cut off")?;
    *rest = after;
    Ok(*bytes)
}

/// The text up to the next line feed.
fn line(rest: &mut &[u8]) -> Result<String, String> {
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or("a name is cut off")?;
    let (name, after) = (&rest[..end], &rest[end + 1..]);
    *rest = after;
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// A little-endian signed integer; one of more than 64 bits describes no tensor.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Other;
    }
    let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    for (to, from) in all.iter_mut().zip(bytes) {
        *to = *from;
    }
    Value::Int(i64::from_le_bytes(all))
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err("a key without a value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_signed_and_of_any_length() {
        // Python's pickle.dumps(n, 2) of these numbers.
        for (bytes, expected) in [
            (&b"\x8a\x05\x00\x00\x00\x00\x01."[..], Value::Int(1 << 32)),
            (b"\x8a\x05\x00\x00\x00\x00\xff.", Value::Int(-(1 << 32))),
            (b"\x8a\x00.", Value::Int(0)),
            (b"J\xff\xff\xff\xff.", Value::Int(-1)),
            (b"M\xff\xff.", Value::Int(65535)),
            (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.", Value::Other),
        ] {
            let (pickle, root) = Pickle::read(bytes).unwrap();
            assert_eq!(pickle.get(root), &expected);
        }
    }

    /// Ten million values in one another, doubled thirty times over, or in a circle: as long as the pickle, no longer.
    #[test]
    fn nesting_and_sharing_cost_nothing() {
        let deep = [b")".to_vec(), vec![0x85; 1_000_000], b".".to_vec()].concat();
        let doubling = [b")q\x00".to_vec(), b"h\x00h\x00\x86q\x00".repeat(30), b".".to_vec()].concat();
        let circle = b"]q\x00h\x00a.".to_vec();
        for bytes in [deep, doubling, circle] {
            let (pickle, _) = Pickle::read(&bytes).unwrap();
            assert!(pickle.values.len() <= bytes.len());
        }
    }

    #[test]
    fn what_is_no_pickle_is_an_error_with_its_place() {
        for (bytes, problem) in [
            (&b""[..], "it is cut off at byte 0"),
            (b"\x80\x02", "it is cut off at byte 2"),
            (b"X\xff\xff\xff\xffabc", "a text is cut off at byte 0"),
            (b"cos\nsystem", "a name is cut off at byte 0"),
            (b")\x86.", "too few values for a tuple at byte 1"),
            (b"t.", "a mark is missing at byte 0"),
            (b"(R.", "a value is missing at byte 1"),
            (b")(a.", "a value is missing at byte 2"),
            (b"}(K\x01u.", "a key without a value at byte 4"),
            (b"K\x01(K\x01K\x02u.", "an entry for what is no dictionary at byte 7"),
            (b"h\x07.", "nothing was remembered as 7 at byte 0"),
            (b"\x93.", "opcode 0x93 is none that PyTorch's checkpoints have at byte 0"),
        ] {
            assert_eq!(Pickle::read(bytes).unwrap_err(), problem, "{bytes:?}");
        }
    }
}
