//! The search for secrets in what a program prints, stores or sends, in every shape that they may be shown in.
//!
//! The end-to-end tests use it too.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Every piece of a secret of this length is looked for, wherever in the secret it begins.
const PIECE_BYTES: usize = 12;

/// What must not be found, and what it may look like.
pub struct Secrets {
    /// Pieces, by their length.
    forbidden: BTreeMap<usize, HashSet<Vec<u8>>>,
}

impl Secrets {
    pub fn of(texts: &[&str]) -> Self {
        let mut forbidden: BTreeMap<usize, HashSet<Vec<u8>>> = BTreeMap::new();
        // BEGIN lines are no secret, and error texts name them.
        for line in texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("-----")) {
            for (length, shown) in shapes(line.as_bytes()) {
                let pieces = shown.as_bytes().windows(length).map(<[u8]>::to_vec);
                forbidden.entry(length).or_default().extend(pieces);
            }
        }
        Self { forbidden }
    }

    #[track_caller]
    pub fn look_in(&self, bytes: &[u8], what: &str) {
        for (length, pieces) in &self.forbidden {
            if let Some(piece) = bytes.windows(*length).find(|piece| pieces.contains(*piece)) {
                panic!("{what}: {:?} is in:\n{}", String::from_utf8_lossy(piece), String::from_utf8_lossy(bytes));
            }
        }
    }
}

/// What a secret looks like when it is shown, and how many characters of that are a piece.
fn shapes(secret: &[u8]) -> Vec<(usize, String)> {
    let each = |show: fn(&u8) -> String, between: &str| secret.iter().map(show).collect::<Vec<_>>().join(between);
    let mut shapes = vec![
        (PIECE_BYTES, String::from_utf8_lossy(secret).into_owned()),
        (PIECE_BYTES * 2, each(|byte| format!("{byte:02x}"), "")),
        (PIECE_BYTES * 2, each(|byte| format!("{byte:02X}"), "")),
        (PIECE_BYTES * 3, each(|byte| byte.to_string(), ", ")),
    ];
    // In Base64 a piece looks different at each of three alignments.
    for skipped in 0..3 {
        let left = secret.get(skipped..).unwrap_or_default();
        shapes.push((PIECE_BYTES / 3 * 4, STANDARD_NO_PAD.encode(left)));
    }
    shapes
}

/// Whether `wanted` is somewhere in the bytes, without which a search of them proves nothing.
pub fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
