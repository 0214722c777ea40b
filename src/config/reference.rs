//! The reference of all keys, made from their declaration: for a terminal and as a page.

use super::{KEYS, Key, SECTIONS};

/// Every key with type, default and meaning, for reading in a terminal.
pub fn reference() -> String {
    let mut out = String::new();
    for (section, about) in SECTIONS {
        out.push_str(&format!("[{section}]  {}\n", joined(about)));
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            out.push_str(&format!("  {} = {}\n", key.path, default_of(key)));
            out.push_str(&format!("      {}\n      takes {}; {}\n", key.text(), key.takes, key.variable()));
        }
        out.push('\n');
    }
    out
}

/// The same as a page of the documentation.
pub fn reference_markdown() -> String {
    let mut out = String::from(HEAD);
    for (section, about) in SECTIONS {
        out.push_str(&format!(
            "\n## `[{section}]`\n\n{}\n\n| key | takes | default | meaning |\n|---|---|---|---|\n",
            joined(about)
        ));
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            let default = if key.derived { key.default.to_owned() } else { format!("`{}`", key.default) };
            out.push_str(&format!("| `{}` | {} | {default} | {} |\n", key.path, key.takes, key.text()));
        }
    }
    out
}

const HEAD: &str = "# Configuration

<!-- Written by `meshstore config reference --markdown`; a test compares. Change src/config/keys.rs instead. -->

A container needs no configuration. What is set is taken from a TOML file (`meshstore serve --config site.toml`),
over that from environment variables (`http.addr` is `MESHSTORE__HTTP__ADDR`), over that from flags
(`--http`, or `--set http.addr=127.0.0.1:7701` for any key). Unknown keys and variables are errors.
`meshstore config check site.toml` reports everything that is wrong at once; `meshstore config show` prints what
is in effect.

Sizes are bytes, plain or with a unit: `KB`, `MB`, `GB`, `TB` count in thousands, `KiB`, `MiB`, `GiB`, `TiB` in 1024s.
Durations are whole milliseconds.

```toml
[site]
name = \"edge-1\"

[memory]
budget_bytes = \"1GiB\"
```
";

fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn default_of(key: &Key) -> String {
    if key.derived { format!("({})", key.default) } else { key.default.to_owned() }
}
