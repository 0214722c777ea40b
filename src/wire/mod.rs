//! Formats that travel between programs and that more than one door speaks: parsers and writers without
//! input or output of their own. What a message asks for is not decided here.

mod head;
pub mod multipart;

pub use head::Head;
