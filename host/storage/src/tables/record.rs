//! Records: what the value of a row looks like.
//!
//! It owns the format version and the checksum. A record is its version, a CRC-32C and a payload in postcard; the
//! checksum covers space, partition and key too, so that a whole record in the wrong place is found as well.
//! It refuses to know what payloads mean.

use bytes::{BufMut, Bytes, BytesMut};
use godwit_domain::{
    time::Ms,
    waist::{Error, Partition, Put, Row, Space},
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Write;

/// The version of the records that are written.
const VERSION: u8 = 1;
/// Version and checksum.
const PREFIX: usize = 5;

/// Makes rows of one partition, all in one piece of memory.
pub(super) struct Rows {
    pub(super) partition: Partition,
    room: BytesMut,
}

impl Rows {
    /// For rows of about `bytes` bytes in all.
    pub(super) fn new(partition: Partition, bytes: usize) -> Self {
        Self { partition, room: BytesMut::with_capacity(bytes) }
    }

    /// A row.
    pub(super) fn row(&mut self, key: &[u8], payload: &impl Serialize) -> Result<Row, Error> {
        self.room.put_slice(key);
        let key = self.room.split().freeze();
        self.room.put_bytes(VERSION, PREFIX);
        postcard::serialize_with_flavor(payload, Room(&mut self.room))
            .map_err(|error| Error::Invalid(format!("a record cannot be written: {error}")))?;
        let crc = checksum(VERSION, &self.partition, &key, &self.room[PREFIX..]);
        self.room[1..PREFIX].copy_from_slice(&crc.to_le_bytes());
        Ok(Row { key, value: self.room.split().freeze() })
    }

    /// A row to write that stays.
    pub(super) fn put(&mut self, key: &[u8], payload: &impl Serialize) -> Result<Put, Error> {
        Ok(Put { row: self.row(key, payload)?, expires_at: None })
    }

    /// A row to write that ends by itself.
    pub(super) fn put_until(&mut self, key: &[u8], payload: &impl Serialize, ends: Ms) -> Result<Put, Error> {
        Ok(Put { row: self.row(key, payload)?, expires_at: Some(ends) })
    }
}

/// One row by itself.
pub(super) fn row(partition: &Partition, key: &[u8], payload: &impl Serialize) -> Result<Row, Error> {
    Rows::new(partition.clone(), 256).row(key, payload)
}

/// What the record says; `what` names it in the error.
pub(super) fn read<T: DeserializeOwned>(
    what: &str,
    partition: &Partition,
    key: &[u8],
    record: &[u8],
) -> Result<T, Error> {
    let Some((&[version, ref crc @ ..], payload)) = record.split_first_chunk::<PREFIX>() else {
        return Err(corrupt(what, partition, key, &format!("a record of {} bytes is cut", record.len())));
    };
    if checksum(version, partition, key, payload) != u32::from_le_bytes(*crc) {
        return Err(corrupt(what, partition, key, "the checksum differs"));
    }
    if version != VERSION {
        let why = format!("the record has version {version}, this host reads {VERSION}");
        return Err(corrupt(what, partition, key, &why));
    }
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(corrupt(what, partition, key, &format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(corrupt(what, partition, key, &error.to_string())),
    }
}

/// The error for a row that is not as it was written: what, where and why.
pub(super) fn corrupt(what: &str, partition: &Partition, key: &[u8], why: &str) -> Error {
    let space = match partition.space {
        Space::Log => "log",
        Space::State => "state",
        Space::Ephemeral => "ephemeral",
    };
    Error::Corrupt(format!("{what} in {space} {} under {}: {why}", hex(&partition.name), hex(key)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn checksum(version: u8, partition: &Partition, key: &[u8], payload: &[u8]) -> u32 {
    let space = match partition.space {
        Space::Log => 1,
        Space::State => 2,
        Space::Ephemeral => 3,
    };
    // Both lengths fit: the waist refuses longer names and keys.
    let (partition_len, key_len) = (partition.name.len() as u8, (key.len() as u16).to_be_bytes());
    let crc = crc32c::crc32c(&[version, space, partition_len, key_len[0], key_len[1]]);
    let crc = crc32c::crc32c_append(crc, &partition.name);
    let crc = crc32c::crc32c_append(crc, key);
    crc32c::crc32c_append(crc, payload)
}

/// Lets postcard write behind what is there already.
struct Room<'a>(&'a mut BytesMut);

impl postcard::ser_flavors::Flavor for Room<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.put_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.put_u8(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// The bytes as a key.
pub(super) fn key(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &'static str) -> Partition {
        Partition { space: Space::State, name: name.into() }
    }

    #[test]
    fn a_record_is_read_as_written() {
        let at = partition("p");
        let row = row(&at, b"k", &(7_u64, "seven")).unwrap();
        assert_eq!(read::<(u64, String)>("it", &at, b"k", &row.value), Ok((7, "seven".into())));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let at = partition("p");
        let row = row(&at, b"k", &(7_u64, "seven")).unwrap();
        for bit in 0..row.value.len() * 8 {
            let mut bytes = row.value.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(read::<(u64, String)>("it", &at, b"k", &bytes), Err(Error::Corrupt(_))),
                "{bit}"
            );
        }
    }

    #[test]
    fn a_record_in_the_wrong_place_is_found_and_named() {
        let row = row(&partition("p"), b"k", &7_u64).unwrap();
        for (at, key) in [(partition("q"), &b"k"[..]), (partition("p"), b"l"), (partition("pk"), b"")] {
            let error = read::<u64>("the number", &at, key, &row.value).unwrap_err().to_string();
            assert!(error.contains("the number in state") && error.contains("checksum"), "{error}");
        }
    }
}
