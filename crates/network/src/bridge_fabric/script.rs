//! The smallest change from one ruleset to the next, as one nftables transaction. Pure, but for the last function.

use std::fmt::Write;

use super::names::Names;
use super::ruleset::{Chain, PRESENCE_CHAIN, Ruleset, Table};
use super::tool;
use crate::FabricError;

/// Elements per command: keeps lines short enough for people who read a failure.
const ELEMENTS_PER_LINE: usize = 500;

/// The transaction that makes the kernel's rules `new`; `None` if nothing changes. Without `old`, whatever is there is replaced.
pub(super) fn change(old: Option<&Ruleset>, new: &Ruleset, names: &Names) -> Option<String> {
    let mut text = match old {
        Some(_) => String::new(),
        None => remove(names),
    };
    let empty = Ruleset::default();
    let before = old.unwrap_or(&empty);
    for (family, was, is) in [("ip", &before.packets, &new.packets), ("bridge", &before.ports, &new.ports)] {
        let at = format!("{family} {}", names.table());
        if old.is_none() {
            line(&mut text, format_args!("add table {at}"));
        }
        table(&mut text, &at, was, is);
    }
    (!text.is_empty()).then_some(text)
}

/// The transaction that removes both tables, there or not.
pub(super) fn remove(names: &Names) -> String {
    let mut text = String::new();
    for family in ["ip", "bridge"] {
        // Adding first, because deleting an absent table is an error.
        line(&mut text, format_args!("add table {family} {}", names.table()));
        line(&mut text, format_args!("delete table {family} {}", names.table()));
    }
    text
}

fn table(text: &mut String, at: &str, was: &Table, is: &Table) {
    for (name, set) in is.sets.iter().filter(|(name, _)| !was.sets.contains_key(*name)) {
        line(text, format_args!("add {} {at} {name} {{ {} }}", set.keyword, set.header));
    }
    for (name, chain) in is.chains.iter().filter(|(name, _)| !was.chains.contains_key(*name)) {
        match chain.hook {
            Some(hook) => line(text, format_args!("add chain {at} {name} {{ {hook} }}")),
            None => line(text, format_args!("add chain {at} {name}")),
        }
    }
    let none = Chain::default();
    for (name, chain) in &is.chains {
        let before = was.chains.get(name).unwrap_or(&none);
        if before.rules == chain.rules {
            continue;
        }
        if !before.rules.is_empty() {
            line(text, format_args!("flush chain {at} {name}"));
        }
        for rule in &chain.rules {
            line(text, format_args!("add rule {at} {name} {rule}"));
        }
    }
    let gone: Vec<&String> = was.chains.keys().filter(|name| !is.chains.contains_key(*name)).collect();
    for name in &gone {
        // They may refer to each other and to sets: empty all before deleting any.
        line(text, format_args!("flush chain {at} {name}"));
    }
    for (name, set) in &was.sets {
        if let Some(now) = is.sets.get(name) {
            elements(text, "delete", at, name, set.elements.difference(&now.elements));
        }
    }
    for (name, set) in &is.sets {
        match was.sets.get(name) {
            Some(before) => elements(text, "add", at, name, set.elements.difference(&before.elements)),
            None => elements(text, "add", at, name, set.elements.iter()),
        }
    }
    for name in &gone {
        line(text, format_args!("delete chain {at} {name}"));
    }
    for (name, set) in was.sets.iter().filter(|(name, _)| !is.sets.contains_key(*name)) {
        line(text, format_args!("delete {} {at} {name}", set.keyword));
    }
}

fn elements<'a>(text: &mut String, verb: &str, at: &str, set: &str, all: impl Iterator<Item = &'a String>) {
    let all: Vec<&str> = all.map(String::as_str).collect();
    for some in all.chunks(ELEMENTS_PER_LINE) {
        line(text, format_args!("{verb} element {at} {set} {{ {} }}", some.join(", ")));
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

/// Whether both tables are still there: somebody may have flushed the machine's ruleset.
///
/// Asked by emptying chains that are always empty, because every listing of `nft` reads all elements of all sets first: at 2,000
/// instances some 40 ms, at 20,000 half a second.
pub(super) async fn tables_exist(names: &Names) -> Result<bool, FabricError> {
    let table = names.table();
    let question =
        format!("flush chain ip {table} {PRESENCE_CHAIN}\nflush chain bridge {table} {PRESENCE_CHAIN}\n");
    match tool::nft(&question).await {
        Ok(()) => Ok(true),
        Err(error) if error.reason.contains("No such file or directory") => Ok(false),
        Err(error) => Err(error),
    }
}
