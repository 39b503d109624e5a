//! A number that a client draws at random, and gives with one request to as many members as it asks: the request is carried out
//! once where members may lie, in the order of the log like all others, and what f+1 of them answer alike is true. It travels in the
//! metadata of a call of the public protocol.

use std::num::NonZeroU64;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

const KEY: &str = "kvstore-number";

/// The number of a request, if it has one.
///
/// # Errors
/// It is none.
pub fn of(metadata: &MetadataMap) -> Result<Option<NonZeroU64>, Status> {
    let Some(value) = metadata.get(KEY) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    let why = || Status::invalid_argument(format!("kvstore: {KEY} must be a whole number above zero"));
    number.map(Some).ok_or_else(why)
}

/// Gives a request this number.
pub fn give<T>(request: &mut Request<T>, number: NonZeroU64) {
    request.metadata_mut().insert(KEY, number.get().into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_travels_and_what_is_none_is_refused() {
        let mut request = Request::new(());
        assert_eq!(of(request.metadata()).unwrap(), None);
        for number in [1, u64::MAX] {
            give(&mut request, NonZeroU64::new(number).unwrap());
            assert_eq!(of(request.metadata()).unwrap().map(NonZeroU64::get), Some(number));
        }
        for text in ["0", "-1", "x", "", "18446744073709551616"] {
            request.metadata_mut().insert(KEY, text.parse().unwrap());
            assert!(of(request.metadata()).is_err(), "{text:?}");
        }
    }
}
