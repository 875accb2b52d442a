//! STS: who am I? There is one identity, the account's root, since there are no users and no temporary credentials.

use std::sync::Arc;

use puffer_shapes::sts;

use crate::{ApiError, Ctx, Registry};

pub(crate) fn register(registry: &mut Registry) {
    registry.serve::<sts::GetCallerIdentity, _>(get_caller_identity);
}

async fn get_caller_identity(
    cx: Arc<Ctx>,
    _: sts::GetCallerIdentityInput,
) -> Result<sts::GetCallerIdentityOutput, ApiError> {
    Ok(sts::GetCallerIdentityOutput {
        // The root's user id is the account's id.
        user_id: Some(cx.account.clone()),
        account: Some(cx.account.clone()),
        arn: Some(format!("arn:aws:iam::{}:root", cx.account)),
    })
}
