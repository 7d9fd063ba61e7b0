//! Components of third parties: what they may cost, see and reach.
