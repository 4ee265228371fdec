//! What a text frame holds: one JSON object, or several separated by line feeds.

/// The most objects in one frame.
pub const OBJECTS_MAX: usize = 1_000;
/// The deepest nesting of an object.
pub const DEPTH_MAX: usize = 64;

/// The objects of a frame, in order; blank lines are passed over. None of them is checked yet.
pub fn objects(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty())
}

/// Whether `text` nests objects and arrays deeper than [`DEPTH_MAX`]. Brackets within strings do not count.
pub fn too_deep(text: &str) -> bool {
    // Most frames have fewer brackets than may nest; counting them all is a fraction of the real scan's cost.
    let opening = text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if opening <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_split_at_line_feeds_and_blank_lines_are_passed_over() {
        let frame = "{\"a\":1}\n\n  \r\n{\"b\":2}\r\n";
        assert_eq!(objects(frame).collect::<Vec<_>>(), ["{\"a\":1}", "{\"b\":2}"]);
    }

    #[test]
    fn nesting_is_counted_outside_strings_alone() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!too_deep(&nested(DEPTH_MAX)));
        assert!(too_deep(&nested(DEPTH_MAX + 1)));
        assert!(!too_deep(&format!("{{\"body\":\"\\\"{}\"}}", "[".repeat(1000))));
        assert!(!too_deep(&"[],".repeat(1000)));
    }
}
