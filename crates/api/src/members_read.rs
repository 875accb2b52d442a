//! A guard over the sources: what a served operation's request may say is read or refused by its handler, never dropped.
//!
//! It looks for the names of a request's members in the text of the handler, or in its file if the handler hands the request
//! on, and for those of nested structures anywhere in the service's folder. So it cannot tell whether a member is *acted* on, but
//! a new one that nobody thought of is found. What is rightly left unread stands in [`UNREAD`] with its reason.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Members that mean nothing here: service, member, reason. A list that is complete, so it may not hold what is read either.
const UNREAD: &[(&str, &str, &str)] = &[
    ("autoscaling", "include_managed_resources", "no other service manages anything here"),
    ("autoscaling", "name", "DescribeAccountSettings: there are none"),
    (
        "autoscaling",
        "skip_zonal_shift_validation",
        "cross-zone balancing cannot be off, so nothing is validated",
    ),
    ("autoscaling", "value", "PutAccountSetting: every name is refused"),
    ("cloudwatch", "strict_entity_validation", "metrics with an entity are refused"),
    ("ec2", "all_availability_zones", "every zone is opted in"),
    ("ec2", "all_regions", "there is one region"),
    ("ec2", "client_token", "ModifyLaunchTemplate: to do it twice is to do it once"),
    ("ec2", "delete_associated_snapshots", "a snapshot always goes with its image"),
    ("ec2", "filters", "DescribeAddresses: there are none"),
    ("ec2", "force", "TerminateInstances: no driver waits for a guest that ends"),
    ("ec2", "include_deprecated", "all images are the caller's own, who sees them deprecated too"),
    ("ec2", "include_disabled", "images cannot be disabled"),
    ("ec2", "include_managed_resources", "no other service manages anything here"),
    ("ec2", "include_unsupported_in_region", "there is one region"),
    ("ec2", "ip_permissions.user_id_group_pairs.peering_status", "part of answers alone"),
    ("ec2", "latest", "the console's output is always the latest"),
    ("ec2", "skip_os_shutdown", "TerminateInstances: no driver waits for a guest that ends"),
    ("elbv2", "actions.authenticate_cognito_config", "refused by the action's Type"),
    ("elbv2", "actions.authenticate_oidc_config", "refused by the action's Type"),
    ("elbv2", "actions.jwt_validation_config", "refused by the action's Type"),
    ("elbv2", "default_actions.authenticate_cognito_config", "refused by the action's Type"),
    ("elbv2", "default_actions.authenticate_oidc_config", "refused by the action's Type"),
    ("elbv2", "default_actions.jwt_validation_config", "refused by the action's Type"),
    ("elbv2", "include", "DescribeTargetHealth: anomalies are not looked for, which the attribute says"),
    ("elbv2", "load_balancer_type", "DescribeSSLPolicies: there are none"),
    ("elbv2", "marker", "DescribeSSLPolicies: there are none"),
    ("elbv2", "mutual_authentication.advertise_trust_store_ca_names", "refused by the Mode"),
    ("elbv2", "mutual_authentication.ignore_client_certificate_expiry", "refused by the Mode"),
    ("elbv2", "mutual_authentication.trust_store_arn", "refused by the Mode"),
    ("elbv2", "mutual_authentication.trust_store_association_status", "refused by the Mode"),
    ("elbv2", "page_size", "DescribeSSLPolicies: there are none"),
    ("elbv2", "reset_transforms", "rules have no transforms"),
    ("sqs", "message_attributes.binary_list_values", "reserved by AWS"),
    ("sqs", "message_attributes.string_list_values", "reserved by AWS"),
    ("sqs", "receive_request_attempt_id", "of FIFO queues, which are refused"),
    ("ssm", "with_decryption", "no parameter is secret"),
];

/// The fields of each generated structure, with their types, and the operations' inputs.
struct Shapes {
    fields: BTreeMap<String, Vec<(String, String)>>,
    aliases: BTreeMap<String, String>,
}

impl Shapes {
    fn of(service: &str) -> Shapes {
        let path = root().join("../shapes/src").join(service).join("generated.rs");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let field = Regex::new(r"pub (\w+): ([^\n]+),").unwrap();
        let structure = Regex::new(r"(?s)pub struct (\w+) \{(.*?)\n\}").unwrap();
        let alias = Regex::new(r"pub type (\w+) = (\w+);").unwrap();
        let pair = |c: regex::Captures<'_>| (c[1].to_owned(), c[2].to_owned());
        Shapes {
            fields: structure
                .captures_iter(&text)
                .map(|c| (c[1].to_owned(), field.captures_iter(&c[2]).map(pair).collect()))
                .collect(),
            aliases: alias.captures_iter(&text).map(pair).collect(),
        }
    }

    fn input(&self, operation: &str) -> String {
        let name = format!("{operation}Input");
        self.aliases.get(&name).cloned().unwrap_or(name)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The sources below a folder without their tests, by path.
fn sources(folder: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs")
            && path.file_name().is_some_and(|n| n != "tests.rs")
        {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            into.insert(path, code);
        }
    }
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

/// Whether a structure is refused as a whole where it is given, so that what is in it does not matter.
fn is_refused_whole(name: &str, text: &str) -> bool {
    let refused = format!(
        r#"\b{name}(\s*=>\s*"|(\s*\.as_ref\(\))?\s*\.is_some(\(\)|_and\(\|\w+\| !\w+\.is_empty\(\)\)))"#
    );
    Regex::new(&refused).unwrap().is_match(text)
}

/// What the handler of an operation is seen to read: itself, or more if it hands the request on.
fn scope(file: &str, function: &str, texts: &BTreeMap<PathBuf, String>) -> String {
    let body = Regex::new(&format!(r"(?s)async fn {function}\b.*?\n\}}\n")).unwrap();
    let body = body.find(file).map_or(file, |m| m.as_str());
    let inside = body.split_once('{').map_or(body, |(_, inside)| inside);
    let handed = Regex::new(r"(?:(\w+)::)?\w+\([^()]*&?\binput\b\s*[,)]").unwrap();
    let mut calls = handed.captures_iter(inside).peekable();
    if calls.peek().is_none() {
        return body.to_owned();
    }
    let mut scope = file.to_owned();
    for module in calls.filter_map(|c| c.get(1)) {
        let name = format!("{}.rs", module.as_str());
        texts.iter().filter(|(path, _)| path.ends_with(&name)).for_each(|(_, text)| scope += text);
    }
    scope
}

/// One service's folder.
struct Service {
    name: String,
    texts: BTreeMap<PathBuf, String>,
    all: String,
    /// What [`is_refused_whole`] said: patterns take long to make.
    refused: RefCell<BTreeMap<String, bool>>,
}

impl Service {
    fn refuses(&self, name: &str) -> bool {
        let mut known = self.refused.borrow_mut();
        *known.entry(name.to_owned()).or_insert_with(|| is_refused_whole(name, &self.all))
    }

    /// Members that are not read, each with the operations that have it.
    fn unread(&self, served: &mut usize) -> BTreeMap<String, BTreeSet<String>> {
        let serve = Regex::new(
            r"serve(?:_as)?::<(?:\w+::)*(\w+)[^>]*>\(\s*(?:move \|[^|]*\| \{\s*)?(?:(?:\w+::)*(\w+)::)?(\w+)",
        )
        .unwrap();
        let mut unread: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let all = words(&self.all);
        for (path, text) in &self.texts {
            let old = path.components().any(|c| c.as_os_str() == "v2009");
            let shapes = Shapes::of(&if old { format!("{}_2009", self.name) } else { self.name.clone() });
            for found in serve.captures_iter(text) {
                *served += 1;
                let folder = path.parent().unwrap();
                let file = match found.get(2) {
                    None => text.as_str(),
                    Some(module) => ["{}.rs", "{}/mod.rs"]
                        .iter()
                        .find_map(|form| self.texts.get(&folder.join(form.replace("{}", module.as_str()))))
                        .map_or(text.as_str(), String::as_str),
                };
                let scope = scope(file, &found[3], &self.texts);
                let mut walk = Walk {
                    shapes: &shapes,
                    service: self,
                    all: &all,
                    seen: BTreeSet::new(),
                    unread: Vec::new(),
                };
                walk.structure(&shapes.input(&found[1]), &words(&scope), "");
                for member in walk.unread {
                    unread.entry(member).or_default().insert(found[1].to_owned());
                }
            }
        }
        unread
    }
}

struct Walk<'a> {
    shapes: &'a Shapes,
    service: &'a Service,
    all: &'a BTreeSet<&'a str>,
    seen: BTreeSet<String>,
    unread: Vec<String>,
}

impl Walk<'_> {
    fn structure(&mut self, structure: &str, scope: &BTreeSet<&str>, above: &str) {
        for (name, kind) in self.shapes.fields.get(structure).into_iter().flatten() {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            if !scope.contains(name.as_str()) {
                self.unread.push(path);
                continue;
            }
            if self.service.refuses(name) {
                continue;
            }
            for inner in words(kind) {
                if self.shapes.fields.contains_key(inner) && self.seen.insert(inner.to_owned()) {
                    self.structure(inner, self.all, &path);
                }
            }
        }
    }
}

#[test]
fn no_member_of_a_request_is_dropped_in_silence() {
    let shared = fs::read_to_string(root().join("src/requirements.rs")).unwrap();
    let (mut served, mut wrong, mut needless) = (0, Vec::new(), Vec::new());
    let folders =
        ["autoscaling", "cloudwatch", "ec2", "elb", "elb_2009", "elbv2", "sns", "sqs", "ssm", "sts"];
    for name in folders {
        let mut texts = BTreeMap::new();
        sources(&root().join("src").join(name), &mut texts);
        let all = texts.values().map(String::as_str).chain([shared.as_str()]).collect::<Vec<_>>().join("\n");
        let service = Service { name: name.to_owned(), texts, all, refused: RefCell::default() };
        let unread = service.unread(&mut served);
        let excused: BTreeSet<&str> = UNREAD.iter().filter(|u| u.0 == name).map(|u| u.1).collect();
        needless.extend(excused.iter().filter(|m| !unread.contains_key(**m)).map(|m| format!("{name} {m}")));
        let bad = unread.into_iter().filter(|(member, _)| !excused.contains(member.as_str()));
        wrong.extend(bad.map(|(member, operations)| format!("{name} {member} of {operations:?}")));
    }
    assert!(wrong.is_empty(), "members that no handler reads or refuses:\n{}", wrong.join("\n"));
    assert!(needless.is_empty(), "excused, but read after all: {needless:?}");
    assert_eq!(served, crate::registry().len(), "each handler is looked at");
}
