//! The table from operations to handlers. Handlers are typed; the table is not, so that the door can decode and encode any
//! operation by its schema.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use puffer_wire::{Operation, OperationSchema, Shape};

use crate::{ApiError, Ctx};

type Answer = Pin<Box<dyn Future<Output = Result<Box<dyn Shape>, ApiError>> + Send>>;
type Erased = Box<dyn Fn(Arc<Ctx>, Box<dyn Shape>) -> Answer + Send + Sync>;

/// An async function that serves one operation: `async fn name(cx: Arc<Ctx>, input: I) -> Result<O, ApiError>`.
pub trait Handler<I, O>: Send + Sync + 'static {
    /// What calling gives.
    type Answer: Future<Output = Result<O, ApiError>> + Send + 'static;
    /// Serves one request.
    fn call(&self, cx: Arc<Ctx>, input: I) -> Self::Answer;
}

impl<I, O, F, A> Handler<I, O> for F
where
    F: Fn(Arc<Ctx>, I) -> A + Send + Sync + 'static,
    A: Future<Output = Result<O, ApiError>> + Send + 'static,
{
    type Answer = A;
    fn call(&self, cx: Arc<Ctx>, input: I) -> A {
        self(cx, input)
    }
}

/// Which handler serves which operation. An operation without a handler answers `InvalidAction`.
#[derive(Default)]
pub struct Registry {
    handlers: HashMap<(&'static str, &'static str), Erased>,
}

impl Registry {
    /// Lets `handler` serve the operation `Op`:
    ///
    /// ```ignore
    /// registry.serve::<autoscaling::DescribeAutoScalingGroups, _>(groups::describe);
    /// ```
    ///
    /// # Panics
    /// If the operation has a handler already: two rooms claim it, a mistake that start-up must not hide.
    pub fn serve<Op, H>(&mut self, handler: H)
    where
        Op: Operation,
        H: Handler<Op::Input, Op::Output>,
    {
        self.serve_as::<Op, Op::Output, H>(handler);
    }

    /// Like [`Registry::serve`], for a handler whose answer is another type with the output's schema: one that lends what it
    /// keeps instead of copying it for each answer.
    ///
    /// # Panics
    /// As [`Registry::serve`].
    pub fn serve_as<Op, O, H>(&mut self, handler: H)
    where
        Op: Operation,
        O: Shape,
        H: Handler<Op::Input, O>,
    {
        let schema = Op::schema();
        let handler = Arc::new(handler);
        let erased: Erased = Box::new(move |cx, input| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let input = (input as Box<dyn Any>).downcast::<Op::Input>().map_err(|_| {
                    ApiError::internal(&"the request was decoded into another operation's shape")
                })?;
                let output = handler.call(cx, *input).await?;
                debug_assert!(
                    std::ptr::eq(output.schema(), schema.output),
                    "{schema:?} answers another schema"
                );
                Ok(Box::new(output) as Box<dyn Shape>)
            })
        });
        let claimed = self.handlers.insert((schema.service.name, schema.name), erased);
        assert!(claimed.is_none(), "two handlers for {schema:?}");
    }

    /// How many operations have a handler.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.handlers.len()
    }

    /// Whether the operation has a handler.
    pub fn serves(&self, operation: &OperationSchema) -> bool {
        self.handlers.contains_key(&(operation.service.name, operation.name))
    }

    /// Runs the operation's handler on a decoded and validated request, or `None` if there is no handler.
    pub fn call(&self, operation: &OperationSchema, cx: Arc<Ctx>, input: Box<dyn Shape>) -> Option<Answer> {
        self.handlers.get(&(operation.service.name, operation.name)).map(|handler| handler(cx, input))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use puffer_shapes::sts;

    async fn identity(
        cx: Arc<Ctx>,
        _: sts::GetCallerIdentityInput,
    ) -> Result<sts::GetCallerIdentityOutput, ApiError> {
        Ok(sts::GetCallerIdentityOutput { account: Some(cx.account.clone()), ..Default::default() })
    }

    #[test]
    fn serves_typed_handlers() {
        let mut registry = Registry::default();
        registry.serve::<sts::GetCallerIdentity, _>(identity);
        assert!(registry.serves(sts::GetCallerIdentity::schema()));
    }

    #[test]
    #[should_panic(expected = "two handlers for sts.GetCallerIdentity")]
    fn refuses_two_handlers() {
        let mut registry = Registry::default();
        registry.serve::<sts::GetCallerIdentity, _>(identity);
        registry.serve::<sts::GetCallerIdentity, _>(identity);
    }
}
