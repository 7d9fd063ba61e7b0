//! Plan files and stored records: nothing is acted on because a file or a row says so.

mod edited;
mod records;
