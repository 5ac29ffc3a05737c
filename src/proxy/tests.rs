//! Faults that only a scripted backend shows.
