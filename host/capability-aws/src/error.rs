//! What AWS says, in the words of the ports.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};
use windlass_model::{diagnostic::chain, limits};

/// Turns an error of a client into one of the ports. `what` names what was being done.
pub(crate) fn of<E, R>(what: &str, error: &SdkError<E, R>) -> CapabilityError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match error {
        SdkError::ServiceError(service) => {
            let said = service.err();
            let code = said.code().unwrap_or("unknown");
            let message: String = said.message().unwrap_or("AWS gave no reason").chars().take(limits::SERVER_TEXT_CHARS_MAX).collect();
            let kind = kind(code);
            let error = CapabilityError::new(kind, format!("{what}: {message} ({code})"));
            match kind {
                Kind::Denied => {
                    error.hint("the connection's credentials lack a permission; `examples/cloud/permissions/iam-policy.json` lists what Windlass needs")
                }
                Kind::Quota => error.hint("raise the quota in Service Quotas, or remove what is not needed"),
                _ => error,
            }
        }
        SdkError::ConstructionFailure(_) => {
            let why = chain(error);
            no_credentials(what, &why).unwrap_or_else(|| CapabilityError::new(Kind::Invalid, format!("{what}: {why}")))
        }
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            let why = chain(error);
            no_credentials(what, &why).unwrap_or_else(|| {
                CapabilityError::new(Kind::Unavailable, format!("{what}: AWS can't be reached: {why}"))
                    .hint("what was asked for may have happened; the next deployment looks first")
            })
        }
        _ => CapabilityError::new(Kind::Failed, format!("{what}: {}", chain(error))),
    }
}

/// A client that finds no credentials fails before it sends anything; only its text says so.
fn no_credentials(what: &str, why: &str) -> Option<CapabilityError> {
    ["credential provider", "loading credentials"].iter().any(|said| why.contains(said)).then(|| {
        CapabilityError::new(Kind::Denied, format!("{what}: there are no AWS credentials: {why}"))
            .hint("set them as the AWS tools read them: variables, a profile, a web identity, or a role of the machine")
    })
}

/// Sorts codes of all services.
fn kind(code: &str) -> Kind {
    if code.contains("AccessDenied")
        || code.contains("UnauthorizedOperation")
        || code.contains("NotAuthorized")
        || code.contains("ExpiredToken")
        || code.contains("InvalidClientToken")
    {
        Kind::Denied
    } else if code.contains("QuotaExceeded")
        || code.contains("LimitExceeded")
        || code.contains("InsufficientDBInstanceCapacity")
        || code.starts_with("TooMany")
    {
        Kind::Quota
    } else if code.contains("Throttl")
        || code == "PriorRequestNotComplete"
        || code == "InternalFailure"
        || code == "ServiceUnavailable"
        || code.contains("InvalidDBInstanceState")
        || code == "InternalError"
    {
        Kind::Unavailable
    } else if code.contains("AlreadyExists") {
        Kind::Conflict
    } else {
        Kind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted() {
        for (code, wanted) in [
            ("AccessDeniedException", Kind::Denied),
            ("ExpiredTokenException", Kind::Denied),
            ("InstanceQuotaExceeded", Kind::Quota),
            ("TooManyHealthChecks", Kind::Quota),
            ("Throttling", Kind::Unavailable),
            ("PriorRequestNotComplete", Kind::Unavailable),
            ("InvalidDBInstanceStateFault", Kind::Unavailable),
            ("DBInstanceAlreadyExists", Kind::Conflict),
            ("InvalidParameterValue", Kind::Invalid),
        ] {
            assert_eq!(kind(code), wanted, "{code}");
        }
    }
}
