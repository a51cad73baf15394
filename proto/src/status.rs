//! Eight error codes and their place among gRPC's. Owns what a code means to a caller: whether to try again, and whose doing it is.

use domain::{Fault, Retry};

/// What went wrong, as far as a caller needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request makes no sense, or its token is wrong.
    InvalidArgument,
    /// No such run.
    NotFound,
    /// It exists with other content.
    AlreadyExists,
    /// Not in this state.
    FailedPrecondition,
    /// Nobody there, or not now.
    Unavailable,
    /// Too much at once.
    ResourceExhausted,
    /// A newer epoch reigns.
    Fenced,
    /// A defect, or a store that fails.
    Internal,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::FailedPrecondition,
        Self::Unavailable,
        Self::ResourceExhausted,
        Self::Fenced,
        Self::Internal,
    ];

    /// As gRPC says it.
    #[must_use]
    pub const fn to_tonic(self) -> tonic::Code {
        match self {
            Self::InvalidArgument => tonic::Code::InvalidArgument,
            Self::NotFound => tonic::Code::NotFound,
            Self::AlreadyExists => tonic::Code::AlreadyExists,
            Self::FailedPrecondition => tonic::Code::FailedPrecondition,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::ResourceExhausted => tonic::Code::ResourceExhausted,
            Self::Fenced => tonic::Code::Aborted,
            Self::Internal => tonic::Code::Internal,
        }
    }

    /// What a gRPC code means to us. Every code has a place: proxies and transports use them all.
    #[must_use]
    pub const fn from_tonic(code: tonic::Code) -> Self {
        match code {
            tonic::Code::InvalidArgument
            | tonic::Code::OutOfRange
            | tonic::Code::Unauthenticated
            | tonic::Code::PermissionDenied => Self::InvalidArgument,
            tonic::Code::NotFound => Self::NotFound,
            tonic::Code::AlreadyExists => Self::AlreadyExists,
            tonic::Code::FailedPrecondition | tonic::Code::Unimplemented => Self::FailedPrecondition,
            tonic::Code::Ok
            | tonic::Code::Unavailable
            | tonic::Code::Cancelled
            | tonic::Code::DeadlineExceeded
            | tonic::Code::Unknown => Self::Unavailable,
            tonic::Code::ResourceExhausted => Self::ResourceExhausted,
            tonic::Code::Aborted => Self::Fenced,
            tonic::Code::Internal | tonic::Code::DataLoss => Self::Internal,
        }
    }
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The code.
    pub code: Code,
    /// For people; lower case, no full stop.
    pub message: String,
}

impl Failure {
    /// A failure with this code and message.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Whether the same call can succeed later.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self.code {
            Code::Unavailable | Code::ResourceExhausted => Retry::Backoff,
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Fenced
            | Code::Internal => Retry::No,
        }
    }

    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self.code {
            Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition => {
                Fault::User
            }
            Code::Unavailable | Code::ResourceExhausted | Code::Fenced => Fault::Infra,
            Code::Internal => Fault::Bug,
        }
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code.to_tonic(), failure.message)
    }
}

impl From<&tonic::Status> for Failure {
    fn from(status: &tonic::Status) -> Self {
        Self { code: Code::from_tonic(status.code()), message: crate::dial::describe_status(status) }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::from(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in Code::ALL {
            let failure = Failure::new(code, "no run `x`");
            assert_eq!(Failure::from(tonic::Status::from(failure.clone())), failure);
        }
    }

    #[test]
    fn only_outages_are_worth_another_try() {
        let again: Vec<Code> =
            Code::ALL.into_iter().filter(|code| Failure::new(*code, "").retry() != Retry::No).collect();
        assert_eq!(again, [Code::Unavailable, Code::ResourceExhausted]);
    }
}
