//! Why a session ends: what the peer did, or which limit it ran into, and at which byte.

/// Whose doing an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The peer does not speak RTMP, or not correctly.
    Peer,
    /// The peer asks for more than this server gives one connection.
    Limit,
}

/// The end of a session. Nothing more is read from this peer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind}, at byte {at} from the peer")]
pub struct Error {
    /// What happened.
    pub kind: ErrorKind,
    /// How many bytes of the peer's stream were consumed before it.
    pub at: u64,
}

impl Error {
    /// Whose doing it is.
    pub const fn fault(&self) -> Fault {
        self.kind.fault()
    }
}

/// What ends a session.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ErrorKind {
    /// A TLS ClientHello on the port for plain RTMP.
    #[error("the peer speaks TLS (rtmps?) on a plain RTMP port")]
    Tls,
    /// A browser or a health check.
    #[error("the peer speaks HTTP on an RTMP port")]
    Http,
    /// A load balancer announces the client's address, and nobody took the preface off.
    #[error("the peer sends a PROXY protocol preface, which is not enabled here")]
    Proxy,
    /// Any other first byte; 6, 8 and 9 are encrypted RTMPE.
    #[error("RTMP version {version} is not supported, only 3 is")]
    Version {
        /// The first byte of the connection.
        version: u8,
    },
    /// A chunk refers to a header that was never sent (§5.3.1.2).
    #[error("the first chunk on chunk stream {csid} has type {format}, which needs one before it")]
    NoHeader {
        /// Chunk stream id.
        csid: u32,
        /// 2 or 3.
        format: u8,
    },
    /// A new message header before the last message on the chunk stream was complete.
    #[error(
        "a new message on chunk stream {csid} while {missing} bytes of the last one are missing"
    )]
    Interrupted {
        /// Chunk stream id.
        csid: u32,
        /// Bytes that the unfinished message lacks.
        missing: u32,
    },
    /// Set Chunk Size of 0 or with the top bit set (§5.4.1).
    #[error("a chunk size of {size} is not allowed")]
    ChunkSize {
        /// What the peer asked for.
        size: u32,
    },
    /// `publish` before `connect`.
    #[error("{command:?} came before connect")]
    NotConnected {
        /// The command.
        command: &'static str,
    },
    /// Values within values within values; protects the stack.
    #[error("AMF values are nested more than {max} levels deep")]
    AmfDepth {
        /// The limit.
        max: usize,
    },
    /// A command carries more values than any client needs.
    #[error("an AMF command has more than {max} values")]
    AmfValues {
        /// The limit.
        max: usize,
    },
    /// A command longer than any client needs.
    #[error("a command of {len} bytes is longer than {max}")]
    CommandTooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A message header declares more than the configured size.
    #[error("a message of {len} bytes on chunk stream {csid} is longer than {max}")]
    MessageTooLong {
        /// Chunk stream id.
        csid: u32,
        /// Declared length.
        len: u32,
        /// The limit.
        max: usize,
    },
    /// Unfinished messages of all chunk streams together.
    #[error("unfinished messages hold more than {max} bytes")]
    PartialBytes {
        /// The limit.
        max: usize,
    },
    /// More chunk streams than any client uses.
    #[error("more than {max} chunk streams are in use")]
    ChunkStreams {
        /// The limit.
        max: usize,
    },
    /// One read brought more messages than real media can.
    #[error("more than {max} messages wait to be taken")]
    Events {
        /// The limit.
        max: usize,
    },
    /// The peer asks for replies and does not read them.
    #[error("more than {max} bytes of replies wait to be sent")]
    Output {
        /// The limit.
        max: usize,
    },
}

impl ErrorKind {
    /// Whose doing it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Tls
            | Self::Http
            | Self::Proxy
            | Self::Version { .. }
            | Self::NoHeader { .. }
            | Self::Interrupted { .. }
            | Self::ChunkSize { .. }
            | Self::NotConnected { .. } => Fault::Peer,
            Self::AmfDepth { .. }
            | Self::AmfValues { .. }
            | Self::CommandTooLong { .. }
            | Self::MessageTooLong { .. }
            | Self::PartialBytes { .. }
            | Self::ChunkStreams { .. }
            | Self::Events { .. }
            | Self::Output { .. } => Fault::Limit,
        }
    }
}
