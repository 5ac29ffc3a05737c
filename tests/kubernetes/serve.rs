//! The test API server by itself, for the Python server and for scripts.

mod printing;

use std::io::{BufRead, Write};

use serde_json::json;

use self::printing::Printing;
use crate::support::kube::{Action, Credentials, Failure, Operator, Server, resource::NAMESPACES};

/// Serves until standard input ends. Prints `url` and `kubeconfig` lines first. Each line of standard input is a command, whose
/// answer ends with an empty line:
///
/// - `namespace NAME` creates one;
/// - `run NAMESPACE POD IP` lets a pod's containers run, as its kubelet does;
/// - `fault METHOD TEXT STATUS TIMES` refuses the next requests with this text in their target;
/// - `heal TEXT` takes the faults of this text back;
/// - `requests` prints what was asked of the server since it was last asked for, as lines of JSON;
/// - `pod NAMESPACE POD SANDBOX CONTAINER...` makes a pod of a sandbox, whose containers run. From the first one on, `pods/log` tells
///   what such containers have printed; until then every log is empty;
/// - `print NAMESPACE POD CONTAINER TEXT` lets it print a line; the text may have `\n` in it;
/// - `rotate NAMESPACE POD CONTAINER` rotates its log;
/// - `restart NAMESPACE POD CONTAINER CODE` ends it with this code, and another instance runs; `exit …` ends it for good.
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
    let mut told = 0;
    let mut printing = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input can be read");
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["namespace", name] => drop(server.create(&NAMESPACES, "", json!({"metadata": {"name": name}}))),
            ["run", namespace, pod, ip] => drop(server.run_pod(namespace, pod, ip, "node1")),
            ["fault", method, text, status, times] => fault(&server, method, text, status, times),
            ["heal", text] => server.heal_of(text),
            ["requests"] => {
                let requests = server.requests_since(told);
                requests.iter().for_each(|request| println!("{}", request.line()));
                told += requests.len();
            }
            [command, ref arguments @ ..] if PRINTING.contains(&command) => {
                print(printing.get_or_insert_with(|| Printing::new(&server)), &server, command, arguments);
            }
            _ => println!("no such command: {line}"),
        }
        println!();
        std::io::stdout().flush().expect("standard output can be written");
    }
}

/// The commands for pods that print.
const PRINTING: [&str; 5] = ["pod", "print", "rotate", "restart", "exit"];

fn print(printing: &mut Printing, server: &Server, command: &str, arguments: &[&str]) {
    let code = |code: &str| code.parse().expect("an exit code");
    match (command, arguments) {
        ("pod", [namespace, name, sandbox, containers @ ..]) => {
            printing.create(server, namespace, name, sandbox, containers);
        }
        ("print", [namespace, name, container, text @ ..]) => {
            printing.print([namespace, name, container], &text.join(" "));
        }
        ("rotate", [namespace, name, container]) => printing.rotate([namespace, name, container]),
        ("restart", [namespace, name, container, ended]) => {
            printing.restart(server, [namespace, name, container], code(ended));
        }
        ("exit", [namespace, name, container, ended]) => {
            printing.exit(server, [namespace, name, container], code(ended));
        }
        _ => panic!("{command} {arguments:?}"),
    }
}

fn fault(server: &Server, method: &str, text: &str, status: &str, times: &str) {
    let method = ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().find(|one| *one == method).expect("a method");
    let action = match status {
        "403" => Action::Fail(Failure::new(403, "Forbidden", "pods is forbidden: User \"parity\" cannot do this")),
        "quota" => {
            let why = "exceeded quota: q1, requested: pods=1, used: pods=1, limited: pods=1";
            Action::Fail(Failure::new(403, "Forbidden", format!("pods \"x\" is forbidden: {why}")))
        }
        "missing" if method == "POST" => Action::Fail(Failure::not_found(&NAMESPACES, "parity")),
        "missing" => Action::Fail(Failure::new(404, "NotFound", "it is not there")),
        "409" => Action::Conflict,
        "422" => Action::Fail(Failure::new(422, "Invalid", "BatchSandbox \"x\" is invalid: metadata: no")),
        "429" => Action::Fail(Failure::initializing()),
        "500" => Action::Fail(Failure::new(500, "", "etcdserver: leader changed")),
        "503" => Action::Fail(Failure::new(503, "ServiceUnavailable", "the server is currently unable to handle this")),
        "html" => Action::Html(502, "<html>502</html>"),
        other => panic!("no fault {other}"),
    };
    server.fault(method, text, action, times.parse().expect("a number"));
}
