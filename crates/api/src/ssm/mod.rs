//! Systems Manager, as far as image aliases go: parameters that name images, read only.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use puffer_core::ssm::Parameter;
use puffer_shapes::ssm as shapes;
use puffer_wire::EpochMillis;

use crate::{ApiError, Ctx, Registry};

/// Parameters of one GetParameters call (AWS's limit).
const NAMES_MAX: usize = 10;
/// Parameters of one page of GetParametersByPath (AWS's limit).
const PAGE_SIZE_MAX: i32 = 10;

/// Serves the operations of this service.
pub(crate) fn register(registry: &mut Registry) {
    registry.serve::<shapes::GetParameter, _>(get);
    registry.serve::<shapes::GetParameters, _>(get_many);
    registry.serve::<shapes::GetParametersByPath, _>(get_by_path);
}

fn show(cx: &Ctx, p: &Parameter) -> shapes::Parameter {
    shapes::Parameter {
        name: Some(p.name.clone()),
        type_: Some("String".into()),
        value: Some(p.value.clone()),
        version: Some(p.version),
        last_modified_date: Some(EpochMillis(p.modified_at.as_millis())),
        arn: Some(format!("arn:aws:ssm:{}:{}:parameter{}", cx.region, cx.account, p.name)),
        data_type: Some("aws:ec2:image".into()),
        ..Default::default()
    }
}

/// The parameter that a name means: plain, by ARN, or with the present version for a selector.
fn find(cx: &Ctx, name: &str) -> Option<shapes::Parameter> {
    let plain =
        name.strip_prefix(&format!("arn:aws:ssm:{}:{}:parameter", cx.region, cx.account)).unwrap_or(name);
    let (plain, selector) = plain.split_once(':').map_or((plain, None), |(p, s)| (p, Some(s)));
    let found = cx.store.get::<Parameter>(plain)?;
    if selector.is_some_and(|s| s != found.version.to_string()) {
        return None;
    }
    Some(shapes::Parameter { selector: selector.map(|s| format!(":{s}")), ..show(cx, &found) })
}

async fn get(cx: Arc<Ctx>, input: shapes::GetParameterInput) -> Result<shapes::GetParameterOutput, ApiError> {
    let name = input.name.unwrap_or_default();
    match find(&cx, &name) {
        Some(parameter) => Ok(shapes::GetParameterOutput { parameter: Some(parameter) }),
        None => Err(ApiError::declared(
            &shapes::errors::PARAMETER_NOT_FOUND,
            format!("The parameter {name} does not exist."),
        )),
    }
}

async fn get_many(
    cx: Arc<Ctx>,
    input: shapes::GetParametersInput,
) -> Result<shapes::GetParametersOutput, ApiError> {
    let names = input.names.unwrap_or_default();
    if names.len() > NAMES_MAX {
        return Err(ApiError::sender(
            "ValidationException",
            format!("At most {NAMES_MAX} names can be given."),
        ));
    }
    let (mut parameters, mut invalid) = (Vec::new(), Vec::new());
    for name in names {
        match find(&cx, &name) {
            Some(parameter) => parameters.push(parameter),
            None => invalid.push(name),
        }
    }
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(shapes::GetParametersOutput { parameters: Some(parameters), invalid_parameters: Some(invalid) })
}

async fn get_by_path(
    cx: Arc<Ctx>,
    input: shapes::GetParametersByPathInput,
) -> Result<shapes::GetParametersByPathOutput, ApiError> {
    if input.parameter_filters.as_ref().is_some_and(|f| !f.is_empty()) {
        return Err(ApiError::sender("InvalidFilterKey", "Filters are not supported by Puffer."));
    }
    let path = input.path.unwrap_or_default();
    if !path.starts_with('/') {
        return Err(ApiError::sender("ValidationException", "The parameter path must begin with a slash: /"));
    }
    let prefix = if path.ends_with('/') { path.clone() } else { format!("{path}/") };
    let size = input.max_results.unwrap_or(PAGE_SIZE_MAX).clamp(1, PAGE_SIZE_MAX);
    let after = match input.next_token.filter(|t| !t.is_empty()) {
        None => None,
        Some(token) => {
            let key = URL_SAFE_NO_PAD.decode(token).ok().and_then(|b| String::from_utf8(b).ok());
            Some(key.ok_or_else(|| ApiError::sender("InvalidNextToken", "The token is invalid."))?)
        }
    };
    let recursive = input.recursive == Some(true);
    let mut found: Vec<Arc<Parameter>> = cx.store.read(|r| {
        let below = |p: &&Arc<Parameter>| {
            p.name.strip_prefix(&prefix).is_some_and(|rest| recursive || !rest.contains('/'))
        };
        r.after::<Parameter>(after.as_deref().unwrap_or_default())
            .filter(below)
            .take(size.unsigned_abs() as usize + 1)
            .cloned()
            .collect()
    });
    let more = found.len() > size.unsigned_abs() as usize;
    found.truncate(size.unsigned_abs() as usize);
    let next_token = found.last().filter(|_| more).map(|p| URL_SAFE_NO_PAD.encode(&p.name));
    let parameters = found.iter().map(|p| show(&cx, p)).collect();
    Ok(shapes::GetParametersByPathOutput { parameters: Some(parameters), next_token })
}
