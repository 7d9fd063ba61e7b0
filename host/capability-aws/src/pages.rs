//! How many pages of a listing are read: a server could send them for ever.

use std::collections::BTreeSet;

use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};
use windlass_model::limits;

/// The pages of one listing that may still come.
pub(crate) struct Pages {
    what: &'static str,
    left: usize,
    places: BTreeSet<String>,
}

impl Pages {
    pub(crate) fn of(what: &'static str) -> Self {
        Self { what, left: limits::AWS_PAGES_MAX, places: BTreeSet::new() }
    }

    /// Counts a page.
    ///
    /// # Errors
    ///
    /// If it is one too many.
    pub(crate) fn next(&mut self) -> Result<(), CapabilityError> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            CapabilityError::new(Kind::Quota, format!("{}: AWS sent more than {} pages", self.what, limits::AWS_PAGES_MAX))
                .hint("use an account or zone with less in it, and check the connection's endpoint")
        })?;
        Ok(())
    }

    /// Counts the page that begins at a place.
    ///
    /// # Errors
    ///
    /// If it is one too many, or one that came before.
    pub(crate) fn next_at(&mut self, place: String) -> Result<(), CapabilityError> {
        self.next()?;
        if self.places.insert(place) {
            return Ok(());
        }
        Err(CapabilityError::new(Kind::Failed, format!("{}: AWS sent the same page twice", self.what))
            .hint("check the connection's endpoint"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_end_at_their_bound_and_where_they_repeat() {
        let mut pages = Pages::of("test");
        assert!((0..limits::AWS_PAGES_MAX).all(|page| pages.next_at(page.to_string()).is_ok()));
        assert_eq!(pages.next_at("more".to_owned()).unwrap_err().kind, Kind::Quota);
        let mut pages = Pages::of("test");
        assert!(pages.next_at("a".to_owned()).is_ok());
        assert_eq!(pages.next_at("a".to_owned()).unwrap_err().kind, Kind::Failed);
    }
}
