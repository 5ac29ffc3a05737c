//! How the gateway gets to the API server and as whom, and what it makes of answers that are none.

mod access;
mod answers;
mod black_holes;
mod hostile;
mod proxies;
