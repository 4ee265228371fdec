//! What counts as a link: an address with its scheme, or a name that a browser would take for a host.

/// Top-level domains of what people write without a scheme. A word with a dot in it is a link with one of these alone,
/// so that `file.txt` and `e.g` are none.
const DOMAINS: [&str; 24] = [
    "app", "biz", "cc", "click", "club", "co", "com", "de", "dev", "eu", "gg", "info", "io", "link", "me",
    "net", "online", "org", "ru", "shop", "site", "top", "uk", "xyz",
];
const SCHEMES: [&str; 2] = ["http://", "https://"];

/// Whether a text has a link to another host than these, or to what ends in one of them.
pub fn any(text: &str, hosts: &[String]) -> bool {
    let lower = text.to_lowercase();
    // Whatever cannot be in an address parts two.
    let words =
        lower.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '"' | '\'' | ','));
    words.filter_map(host).any(|host| !allowed(&host, hosts))
}

/// The host of a link, if the word is one.
fn host(word: &str) -> Option<String> {
    let scheme = SCHEMES.iter().find_map(|scheme| word.find(scheme).map(|at| &word[at + scheme.len()..]));
    let rest = scheme.unwrap_or(word);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    // What stands before an `@` is no part of the host, and is there to mislead.
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let host = host.trim_matches(|c: char| !c.is_alphanumeric());
    let named =
        || host.rsplit_once('.').is_some_and(|(name, last)| !name.is_empty() && DOMAINS.contains(&last));
    match scheme.is_some() && !host.is_empty() || scheme.is_none() && !authority.contains('@') && named() {
        true => Some(host.to_owned()),
        false => None,
    }
}

fn allowed(host: &str, hosts: &[String]) -> bool {
    hosts
        .iter()
        .any(|known| host == known || host.strip_suffix(&**known).is_some_and(|rest| rest.ends_with('.')))
}
