//! Tenants: whose a request is, and that nobody reaches what is another's (kubernetes-runtime.md §14, §15; transcript 14).

mod apart;
mod crafted;
mod creating;
mod file;
pub(crate) mod fixture;
mod limits;
mod queue;
mod service;
