//! A frame: 64 bytes, always.

use core::fmt;

use super::field::FieldError;

/// The length of every frame.
pub const FRAME: usize = 64;

/// The first byte of a frame.
pub const SOM: u8 = 0x17;

/// The first byte of the events that firmware 6.62 sends, and of nothing else.
pub const SOM_EVENT_V6_62: u8 = 0x19;

/// The function of a status reply and of the events that boards push.
pub(super) const GET_STATUS: Function = Function(0x20);

/// The bytes of a frame.
pub type Frame = [u8; FRAME];

/// A function code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Function(pub u8);

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// Why bytes are not the frame that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Not 64 bytes.
    Length {
        /// How many there were.
        got: usize,
    },
    /// Another first byte.
    StartOfMessage {
        /// Which.
        got: u8,
    },
    /// A function that is not in the table, or has no such direction.
    UnknownFunction {
        /// Which.
        got: Function,
    },
    /// A known function, but not the one asked for.
    OtherFunction {
        /// Which.
        got: Function,
        /// Which was wanted.
        wanted: Function,
    },
    /// A field whose bytes cannot be its value.
    Field {
        /// In which function.
        function: Function,
        /// The field's name.
        name: &'static str,
        /// Why.
        error: FieldError,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { got } => write!(f, "frame of {got} bytes instead of {FRAME}"),
            Self::StartOfMessage { got } => write!(f, "frame begins with {got:#04x}"),
            Self::UnknownFunction { got } => write!(f, "unknown {got}"),
            Self::OtherFunction { got, wanted } => write!(f, "{got} instead of {wanted}"),
            Self::Field { function, name, error } => {
                write!(f, "{function}: field {name}: {error}")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// Checks what holds for every frame and returns it with its function and serial number.
pub fn peek(bytes: &[u8]) -> Result<(&Frame, Function, u32), FrameError> {
    let frame: &Frame = bytes.try_into().map_err(|_| FrameError::Length { got: bytes.len() })?;
    let [som, function, _, _, a, b, c, d, ..] = *frame;
    let function = Function(function);
    let listen_event = som == SOM_EVENT_V6_62 && function == GET_STATUS;
    if som != SOM && !listen_event {
        return Err(FrameError::StartOfMessage { got: som });
    }
    Ok((frame, function, u32::from_le_bytes([a, b, c, d])))
}
