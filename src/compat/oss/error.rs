//! What went wrong, with the status, code and number by which clients of this API know it.

use hyper::StatusCode;

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) code: Code,
    pub(super) message: String,
    /// The vendor's number for exactly this case (`0044-00000101`); empty if it has none.
    pub(super) ec: &'static str,
    /// Facts that some codes carry, as elements of the error document.
    pub(super) facts: Vec<(&'static str, String)>,
}

macro_rules! codes {
    ($($code:ident $status:ident),* $(,)?) => {
        /// What a program reads: the SDK picks its exception by status and code together.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code { $($code),* }

        impl Code {
            /// The status that goes with it.
            pub(super) const fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status),* }
            }

            /// As it is written.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code)),* }
            }
        }
    };
}

codes! {
    InvalidArgument BAD_REQUEST,
    MalformedXML BAD_REQUEST,
    InvalidBucketName BAD_REQUEST,
    EntityTooLarge BAD_REQUEST,
    AccessDenied FORBIDDEN,
    SignatureDoesNotMatch FORBIDDEN,
    InvalidAccessKeyId FORBIDDEN,
    InvalidSecurityToken FORBIDDEN,
    RequestTimeTooSkewed FORBIDDEN,
    NoSuchBucket NOT_FOUND,
    NoSuchKey NOT_FOUND,
    NoSuchLiveChannel NOT_FOUND,
    PreconditionFailed PRECONDITION_FAILED,
    InvalidRange RANGE_NOT_SATISFIABLE,
    MethodNotAllowed METHOD_NOT_ALLOWED,
    ChannelStillLive CONFLICT,
    BucketNotEmpty CONFLICT,
    InternalError INTERNAL_SERVER_ERROR,
    NotImplemented NOT_IMPLEMENTED,
}

impl Error {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            ec: "",
            facts: Vec::new(),
        }
    }

    /// A parameter, header or XML value that cannot be.
    pub(super) fn argument(
        name: &'static str,
        value: &str,
        ec: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let mut error = Self::new(Code::InvalidArgument, message);
        error.ec = ec;
        error
            .with("ArgumentName", name)
            .with("ArgumentValue", value)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    pub(super) fn ec(self, ec: &'static str) -> Self {
        Self { ec, ..self }
    }

    pub(super) fn no_such_bucket(bucket: &str) -> Self {
        Self::new(Code::NoSuchBucket, "The specified bucket does not exist.")
            .with("BucketName", bucket)
    }

    pub(super) fn no_such_channel() -> Self {
        let message = "The live channel does not exist.";
        Self::new(Code::NoSuchLiveChannel, message).ec("0026-00000021")
    }

    pub(super) fn no_such_key(key: &str) -> Self {
        Self::new(Code::NoSuchKey, "The specified key does not exist.").with("Key", key)
    }

    pub(super) fn still_live() -> Self {
        let message = "The live channel has a publisher: it can be changed when the push is over.";
        Self::new(Code::ChannelStillLive, message).ec("0044-00000201")
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new(Code::AccessDenied, message)
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "The specified method is not allowed against this resource.";
        Self::new(Code::MethodNotAllowed, message)
    }
}
