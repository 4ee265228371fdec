//! Results of tests as JUnit XML, which build servers read: a suite for each file, a case for each step.

use super::{Results, Tested};

/// The document.
pub fn xml(results: &Results) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for test in &results.tests {
        suite(&results.plugin, test, &mut xml);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(plugin: &str, test: &Tested, xml: &mut String) {
    let broken = usize::from(test.problem.is_some());
    let failures = test.steps.iter().filter(|step| step.problem.is_some()).count();
    let took: f64 = test.steps.iter().map(|step| step.took.as_secs_f64()).sum();
    xml.push_str(&format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{broken}\" time=\"{took:.6}\">\n",
        escaped(&format!("{plugin}: {}", test.name)),
        test.steps.len() + broken,
    ));
    let class = escaped(&format!("{plugin}.{}", test.file));
    if let Some(problem) = &test.problem {
        let (name, problem) = (escaped(&test.name), escaped(problem));
        xml.push_str(&format!(
            "    <testcase classname=\"{class}\" name=\"{name}\"><error message=\"{problem}\"/></testcase>\n"
        ));
    }
    for (n, step) in test.steps.iter().enumerate() {
        let name = escaped(&format!("{}. {}", n + 1, step.title));
        let time = step.took.as_secs_f64();
        xml.push_str(&format!("    <testcase classname=\"{class}\" name=\"{name}\" time=\"{time:.6}\">\n"));
        if let Some(problem) = &step.problem {
            xml.push_str(&format!("      <failure message=\"{}\"/>\n", escaped(problem)));
        }
        let log: Vec<_> = step.log.iter().map(|line| format!("{}: {}", line.level, line.text)).collect();
        if !log.is_empty() {
            xml.push_str(&format!("      <system-out>{}</system-out>\n", escaped(&log.join("\n"))));
        }
        xml.push_str("    </testcase>\n");
    }
    xml.push_str("  </testsuite>\n");
}

/// Text for an attribute or an element; what XML cannot say at all becomes the replacement character.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_engine::workbench::Outcome;
    use std::time::Duration;

    #[test]
    fn each_file_is_a_suite_and_nothing_that_a_plugin_says_breaks_the_document() {
        let step = |problem: Option<&str>| Outcome {
            title: "\"<&>\"\u{1}".to_owned(),
            hook: "moderation",
            problem: problem.map(str::to_owned),
            log: Vec::new(),
            took: Duration::from_millis(2),
        };
        let tests = vec![
            Tested {
                file: "scenarios/a.toml".into(),
                name: "a".into(),
                problem: None,
                steps: vec![step(None), step(Some("it should\nnot"))],
            },
            Tested {
                file: "scenarios/b.toml".into(),
                name: "b".into(),
                problem: Some("no".into()),
                steps: vec![],
            },
        ];
        let results = Results { plugin: "x".into(), seed: 1, warnings: vec![], tests, usage: vec![] };
        let xml = xml(&results);
        for part in [
            "<testsuite name=\"x: a\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.004000\">",
            "name=\"1. &quot;&lt;&amp;&gt;&quot;\u{fffd}\"",
            "<failure message=\"it should&#10;not\"/>",
            "<testsuite name=\"x: b\" tests=\"1\" failures=\"0\" errors=\"1\"",
            "<error message=\"no\"/>",
        ] {
            assert!(xml.contains(part), "{part} is not in {xml}");
        }
    }
}
