//! (course)
