//! Creating sandboxes (kubernetes-runtime.md §4, §5): what is made, what is answered, and that nothing is left of what failed.

mod claims;
mod crowd;
mod faults;
mod fixture;
mod outcomes;
mod shutdown;
mod steps;
mod writes;
