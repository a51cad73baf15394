//! The token check at the door of both services.

use domain::secret::Secret;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Lets calls pass that carry the shared token. Without a token everybody passes: such a port is loopback, or declared insecure.
#[derive(Debug, Clone)]
pub(crate) struct Guard(Option<Secret<String>>);

impl Guard {
    pub(crate) fn new(token: Option<&Secret<String>>) -> Self {
        Self(token.map(|token| Secret::new(format!("Bearer {}", token.reveal()))))
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(expected) = &self.0 else { return Ok(request) };
        match request.metadata().get("authorization") {
            None => Err(Status::unauthenticated("this coordinator wants a token; give the token file")),
            Some(given) if is_same(given.as_bytes(), expected.reveal().as_bytes()) => Ok(request),
            Some(_) => {
                Err(Status::unauthenticated("the token is not the coordinator's; compare the token files"))
            }
        }
    }
}

/// Takes the same time wherever the first difference is.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |sum, (left, right)| sum | (left ^ right)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(token: Option<&str>, header: Option<&str>, passes: bool) {
        let mut guard = Guard::new(token.map(|token| Secret::new(token.to_owned())).as_ref());
        let mut request = Request::new(());
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        assert_eq!(guard.call(request).is_ok(), passes, "{token:?} {header:?}");
    }

    #[test]
    fn only_the_exact_token_passes() {
        check(None, None, true);
        check(None, Some("Bearer x"), true);
        check(Some("abc"), None, false);
        check(Some("abc"), Some("Bearer abc"), true);
        check(Some("abc"), Some("Bearer abd"), false);
        check(Some("abc"), Some("Bearer abcd"), false);
        check(Some("abc"), Some("abc"), false);
        check(Some("abc"), Some(""), false);
    }

    #[test]
    fn the_token_does_not_print() {
        assert!(!format!("{:?}", Guard::new(Some(&Secret::new("canary".to_owned())))).contains("canary"));
    }
}
