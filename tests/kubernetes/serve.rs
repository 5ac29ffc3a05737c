//! The test API server by itself, for the Python server and for scripts.

use std::io::Read;

use crate::support::kube::{Credentials, Operator, Server};

/// Serves until standard input ends. Prints `url` and `kubeconfig` lines first.
///
/// `KUBE_TLS=1`: with TLS and the administrator's certificate. `KUBE_PORT`: the port. `KUBE_OPERATOR=IP`: with an operator whose pods
/// have this address.
///
/// `cargo test --test kubernetes -- --ignored --exact serve::serve --nocapture`
#[test]
#[ignore = "a server, not a test"]
fn serve() {
    let has_tls = std::env::var("KUBE_TLS").is_ok_and(|value| value == "1");
    let port = std::env::var("KUBE_PORT").map_or(0, |port| port.parse().expect("KUBE_PORT is a port"));
    let server = Server::new(has_tls, port);
    if let Ok(ip) = std::env::var("KUBE_OPERATOR") {
        server.operate(Operator { ip, ..Operator::default() });
    }
    let credentials = if has_tls { Credentials::Certificate("admin") } else { Credentials::None };
    println!("url {}", server.url());
    println!("kubeconfig {}", server.kubeconfig(credentials).display());
    let mut scrap = Vec::new();
    std::io::stdin().read_to_end(&mut scrap).expect("standard input can be read");
}
