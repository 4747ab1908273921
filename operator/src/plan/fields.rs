//! What a spec calls the engine's settings.

use std::fmt::Display;

use super::Refusal;

/// The engine's settings, and the fields of a spec that they come from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields(pub &'static [(&'static str, &'static str)]);

impl Fields {
    /// What the engine says of a setting, as a refusal that says it of the field. What it quotes is what somebody has written, and stays.
    pub fn refuse(self, error: impl Display) -> Refusal {
        let told = error.to_string();
        let renamed = self.rename(&told);
        Refusal::invalid(if renamed == told { format!("spec: {told}") } else { renamed })
    }

    fn rename(self, text: &str) -> String {
        let (mut renamed, mut word) = (String::new(), String::new());
        let (mut is_quoted, mut is_escaped) = (false, false);
        for letter in text.chars().chain([' ']) {
            if !is_quoted && (letter.is_ascii_alphanumeric() || letter == '.') {
                word.push(letter);
                continue;
            }
            let field = self.0.iter().find(|(setting, _)| *setting == word);
            renamed.push_str(field.map_or(&word, |(_, field)| field));
            renamed.push(letter);
            word.clear();
            is_quoted ^= letter == '"' && !is_escaped;
            is_escaped = is_quoted && letter == '\\' && !is_escaped;
        }
        renamed.pop();
        renamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields(&[("topics", "spec.topics.include"), ("startTime", "spec.pitr.startTime")]);

    #[test]
    fn a_setting_is_told_as_the_field_it_comes_from_and_what_was_written_stays() {
        let told = |text: &str| FIELDS.refuse(text).message;
        assert_eq!(told("topics: \"a \\\"topics(\": no"), "spec.topics.include: \"a \\\"topics(\": no");
        assert_eq!(told("startTime 1 is after topics"), "spec.pitr.startTime 1 is after spec.topics.include");
        assert_eq!(told("topicsMax is 7"), "spec: topicsMax is 7");
    }
}
