//! STEP 1.

pub mod io;
