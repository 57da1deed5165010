//! What a device says to a request: the one handler, for every framing. Pure.
//!
//! Functions 1 to 6, 15 and 16 of the Modbus application protocol 1.1b3. What is looked at comes in the
//! specification's order: the function, the count, the addresses.

use jiff::Timestamp;
use postern_protocol::modbus::register::Table;

use super::device::Device;
use crate::ledger::{LedgerError, Truth};

/// The longest request and the longest answer: function and data.
pub const MAX_PDU: usize = 253;

/// How many bits, and how many registers, one request may write.
const MAX_WRITE_BITS: u16 = 1_968;
const MAX_WRITE_REGISTERS: u16 = 123;

/// Marks an answer that is an exception.
const REFUSED: u8 = 0x80;

/// Why a device refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception(pub u8);

impl Exception {
    /// It does not know the function.
    pub const FUNCTION: Self = Self(1);
    /// It has no such address, or none that can be written.
    pub const ADDRESS: Self = Self(2);
    /// The count, or the value, or the length of the request makes no sense.
    pub const VALUE: Self = Self(3);
    /// Behind this gateway nobody has that unit number.
    pub const NO_TARGET: Self = Self(0x0b);

    /// The answer that says so.
    pub fn answer(self, function: u8) -> Vec<u8> {
        vec![function | REFUSED, self.0]
    }
}

/// Whether an answer is an exception.
pub fn is_exception(answer: &[u8]) -> bool {
    answer.first().is_some_and(|function| function & REFUSED != 0)
}

/// Whether a function reads; its answer is a count and data.
pub const fn is_read(function: u8) -> bool {
    matches!(function, 1..=4)
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Read {
        table: Table,
        address: u16,
        count: u16,
    },
    Write {
        table: Table,
        address: u16,
        values: Vec<u16>,
        /// What the answer repeats.
        echo: [u8; 4],
    },
}

impl Device {
    /// The answer to a request, which is its function and its data. `None` where there is not even a function.
    ///
    /// After an error nothing may be answered: what could not be told to the truth did not happen.
    pub fn answer(
        &mut self,
        request: &[u8],
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some((&function, data)) = request.split_first() else { return Ok(None) };
        let answer = match parse(function, data) {
            Err(exception) => Err(exception),
            Ok(Request::Read { table, address, count }) => {
                self.read(table, address, count).map(|values| shown(function, table, &values))
            }
            Ok(Request::Write { table, address, values, echo }) => {
                let done = self.write(table, address, &values, now, truth)?;
                done.map(|()| [&[function][..], &echo].concat())
            }
        };
        Ok(Some(answer.unwrap_or_else(|exception| exception.answer(function))))
    }
}

fn parse(function: u8, data: &[u8]) -> Result<Request, Exception> {
    let read = |table| read(table, data);
    match function {
        1 => read(Table::Coil),
        2 => read(Table::DiscreteInput),
        3 => read(Table::HoldingRegister),
        4 => read(Table::InputRegister),
        5 => match data {
            [a, b, 0xff, 0] => Ok(write(Table::Coil, [*a, *b, 0xff, 0], vec![1])),
            [a, b, 0, 0] => Ok(write(Table::Coil, [*a, *b, 0, 0], vec![0])),
            _ => Err(Exception::VALUE),
        },
        6 => match data {
            [a, b, high, low] => {
                let value = u16::from_be_bytes([*high, *low]);
                Ok(write(Table::HoldingRegister, [*a, *b, *high, *low], vec![value]))
            }
            _ => Err(Exception::VALUE),
        },
        15 => write_many(Table::Coil, MAX_WRITE_BITS, data),
        16 => write_many(Table::HoldingRegister, MAX_WRITE_REGISTERS, data),
        _ => Err(Exception::FUNCTION),
    }
}

fn read(table: Table, data: &[u8]) -> Result<Request, Exception> {
    let [a, b, high, low] = data else { return Err(Exception::VALUE) };
    let count = u16::from_be_bytes([*high, *low]);
    if count == 0 || count > table.most() {
        return Err(Exception::VALUE);
    }
    Ok(Request::Read { table, address: u16::from_be_bytes([*a, *b]), count })
}

fn write(table: Table, echo: [u8; 4], values: Vec<u16>) -> Request {
    let [high, low, ..] = echo;
    Request::Write { table, address: u16::from_be_bytes([high, low]), values, echo }
}

fn write_many(table: Table, most: u16, data: &[u8]) -> Result<Request, Exception> {
    let [a, b, high, low, length, values @ ..] = data else { return Err(Exception::VALUE) };
    let count = u16::from_be_bytes([*high, *low]);
    let bytes = if table.is_bits() { count.div_ceil(8) } else { count.saturating_mul(2) };
    let is_whole = usize::from(*length) == values.len() && u16::from(*length) == bytes;
    if count == 0 || count > most || !is_whole {
        return Err(Exception::VALUE);
    }
    let values: Vec<u16> = if table.is_bits() {
        let bit = |place: u16| {
            let byte = values.get(usize::from(place / 8)).copied().unwrap_or_default();
            u16::from(byte >> (place % 8) & 1)
        };
        (0..count).map(bit).collect()
    } else {
        let words = values.as_chunks().0;
        words.iter().map(|word| u16::from_be_bytes(*word)).collect()
    };
    Ok(write(table, [*a, *b, *high, *low], values))
}

/// The answer to a read: a count of bytes, and the values.
fn shown(function: u8, table: Table, values: &[u16]) -> Vec<u8> {
    let bytes: Vec<u8> = if table.is_bits() {
        let byte = |bits: &[u16]| {
            let places = bits.iter().zip(0_u8..);
            places.fold(0, |byte, (bit, place)| byte | u8::from(*bit != 0) << place)
        };
        values.chunks(8).map(byte).collect()
    } else {
        values.iter().flat_map(|value| value.to_be_bytes()).collect()
    };
    // 250 at most, as no request reads more.
    let count = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    [&[function, count][..], &bytes].concat()
}
