//! JSON as the list of scenarios has it: enough to read it, and to compare what steps give.
#![allow(dead_code)]

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Int(i64),
    /// Written with a point or an exponent.
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub fn parse(text: &str) -> Result<Json, String> {
        let mut parser = Parser { text: text.as_bytes(), at: 0 };
        let value = parser.value()?;
        parser.space();
        if parser.at == text.len() {
            Ok(value)
        } else {
            Err(format!("more follows at byte {}", parser.at))
        }
    }

    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self) -> Option<i64> {
        match self {
            Json::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub fn list(&self) -> &[Json] {
        match self {
            Json::List(values) => values,
            _ => &[],
        }
    }

    /// Whether `given` is what this expects: numbers with a point to within `tolerance`, all else exactly.
    pub fn accepts(&self, given: &Json, tolerance: f64) -> bool {
        match (self, given) {
            (Json::Float(a), Json::Float(b)) => (a - b).abs() <= tolerance,
            (Json::Float(a), Json::Int(b)) => (a - *b as f64).abs() <= tolerance,
            (Json::List(a), Json::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.accepts(b, tolerance))
            }
            (Json::Object(a), Json::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, a)| given.get(key).map_or(false, |b| a.accepts(b, tolerance)))
            }
            _ => self == given,
        }
    }
}

/// As JSON again, for what is handed on as it is.
impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |f: &mut std::fmt::Formatter<'_>, text: &str| {
            f.write_str("\"")?;
            for c in text.chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{}", c)?,
                    c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                    c => write!(f, "{}", c)?,
                }
            }
            f.write_str("\"")
        };
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => value.fmt(f),
            Json::Int(value) => value.fmt(f),
            Json::Float(value) => write!(f, "{:?}", value),
            Json::Text(value) => text(f, value),
            Json::List(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{}", if i > 0 { ", " } else { "" }, value)?;
                }
                f.write_str("]")
            }
            Json::Object(fields) => {
                f.write_str("{")?;
                for (i, (key, value)) in fields.iter().enumerate() {
                    f.write_str(if i > 0 { ", " } else { "" })?;
                    text(f, key)?;
                    write!(f, ": {}", value)?;
                }
                f.write_str("}")
            }
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn space(&mut self) {
        while self.text.get(self.at).map_or(false, u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn takes(&mut self, what: &str) -> bool {
        self.space();
        let found = self.text[self.at..].starts_with(what.as_bytes());
        self.at += if found { what.len() } else { 0 };
        found
    }

    fn needs(&mut self, what: &str) -> Result<(), String> {
        if self.takes(what) {
            return Ok(());
        }
        Err(format!("byte {}: '{}' was expected", self.at, what))
    }

    fn value(&mut self) -> Result<Json, String> {
        for (word, value) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
        {
            if self.takes(word) {
                return Ok(value);
            }
        }
        if self.takes("[") {
            let mut values = Vec::new();
            while !self.takes("]") {
                if !values.is_empty() {
                    self.needs(",")?;
                }
                values.push(self.value()?);
            }
            return Ok(Json::List(values));
        }
        if self.takes("{") {
            let mut fields = Vec::new();
            while !self.takes("}") {
                if !fields.is_empty() {
                    self.needs(",")?;
                }
                self.needs("\"")?;
                let key = self.rest_of_text()?;
                self.needs(":")?;
                fields.push((key, self.value()?));
            }
            return Ok(Json::Object(fields));
        }
        if self.takes("\"") {
            return self.rest_of_text().map(Json::Text);
        }
        self.number()
    }

    fn number(&mut self) -> Result<Json, String> {
        let rest = &self.text[self.at..];
        let size = rest.iter().take_while(|c| b"+-.eE0123456789".contains(c)).count();
        let word = std::str::from_utf8(&rest[..size]).map_err(|error| error.to_string())?;
        let value = if word.contains(|c| ".eE".contains(c)) {
            word.parse().map(Json::Float).map_err(|_| ())
        } else {
            word.parse().map(Json::Int).map_err(|_| ())
        };
        let at = self.at;
        self.at += size;
        value.map_err(|()| format!("byte {}: no value", at))
    }

    fn unit(&mut self) -> Result<u16, String> {
        let digits = self.text.get(self.at..self.at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        self.at += 4;
        digits
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
            .ok_or_else(|| format!("byte {}: four digits were expected", self.at))
    }

    fn rest_of_text(&mut self) -> Result<String, String> {
        let mut out = Vec::new();
        loop {
            let c = *self.text.get(self.at).ok_or("a text has no end")?;
            self.at += 1;
            match c {
                b'"' => return String::from_utf8(out).map_err(|error| error.to_string()),
                b'\\' => {
                    let c = *self.text.get(self.at).ok_or("a text has no end")?;
                    self.at += 1;
                    let c = match c {
                        b'n' => '\n',
                        b't' => '\t',
                        b'r' => '\r',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'u' => {
                            let mut units = vec![self.unit()?];
                            if (0xD800..0xDC00).contains(&units[0])
                                && self.text[self.at..].starts_with(b"\\u")
                            {
                                self.at += 2;
                                units.push(self.unit()?);
                            }
                            char::decode_utf16(units).next().and_then(Result::ok).unwrap_or('\u{FFFD}')
                        }
                        other => char::from(other),
                    };
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                c => out.push(c),
            }
        }
    }
}
