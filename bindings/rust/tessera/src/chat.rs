//! Conversations as the JSON that chat templates take.

use std::fmt::Write;

/// A conversation: messages with a role each, in order.
///
/// ```
/// use tessera::Chat;
///
/// let chat = Chat::new().system("Be brief.").user("What is \"GGUF\"?");
/// assert_eq!(
///     chat.as_json(),
///     r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is \"GGUF\"?"}]"#
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    json: String,
}

impl Default for Chat {
    fn default() -> Self {
        Self { json: "[]".into() }
    }
}

impl Chat {
    /// A conversation without messages.
    pub fn new() -> Self {
        Self::default()
    }

    /// A conversation that is JSON already: an array of objects with the fields that the model's template takes,
    /// such as tool calls. It is checked when it is used.
    pub fn from_json(json: impl Into<String>) -> Self {
        Self { json: json.into() }
    }

    /// Appends what the system says.
    #[must_use]
    pub fn system(self, content: &str) -> Self {
        self.message("system", content)
    }

    /// Appends what the user says.
    #[must_use]
    pub fn user(self, content: &str) -> Self {
        self.message("user", content)
    }

    /// Appends what the model said.
    #[must_use]
    pub fn assistant(self, content: &str) -> Self {
        self.message("assistant", content)
    }

    /// Appends a message.
    #[must_use]
    pub fn message(mut self, role: &str, content: &str) -> Self {
        let end = self.json.trim_end().len();
        self.json.truncate(end);
        if self.json.ends_with(']') {
            self.json.pop();
        }
        let first = self.json.trim_end().ends_with('[');
        self.json.push_str(if first { "{\"role\": " } else { ", {\"role\": " });
        push_string(&mut self.json, role);
        self.json.push_str(", \"content\": ");
        push_string(&mut self.json, content);
        self.json.push_str("}]");
        self
    }

    /// The conversation as JSON.
    pub fn as_json(&self) -> &str {
        &self.json
    }
}

fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '\n' => json.push_str("\\n"),
            c if c < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}
