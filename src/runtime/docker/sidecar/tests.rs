use std::net::Ipv4Addr;

use crate::{
    config::{Egress, SecureKind},
    model::network::NetworkPolicy,
};

use super::*;
use crate::runtime::docker::{
    engine::labels,
    ports::{
        Ports,
        host_ports::{EGRESS, EXECD, HTTP, HostPorts},
    },
};

fn options(change: impl FnOnce(&mut DockerOptions, &mut Egress)) -> DockerOptions {
    let mut egress = egress::tests::egress();
    let mut options = DockerOptions { network_mode: "bridge".to_owned(), ..Default::default() };
    change(&mut options, &mut egress);
    DockerOptions { egress: Some(egress), ..options }
}

fn request(env: &[(&str, &str)]) -> CreateRequest {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    CreateRequest { network_policy: Some(NetworkPolicy::default()), env: env.collect(), ..Default::default() }
}

fn refused(request: &CreateRequest, change: impl FnOnce(&mut DockerOptions, &mut Egress)) -> String {
    check(request, &options(change)).unwrap_err().message
}

#[test]
fn what_no_sidecar_can_enforce_is_refused_with_the_peer_s_texts() {
    let plain = request(&[]);
    assert_eq!(
        refused(&plain, |o, _| o.network_mode = "host".to_owned()),
        "networkPolicy is not supported when docker network_mode=host."
    );
    assert_eq!(
        refused(&plain, |o, _| o.network_mode = "My-Net".to_owned()),
        "networkPolicy is not supported when docker network_mode='My-Net' (user-defined network). Use \
         network_mode='bridge' to enable network policy enforcement."
    );
    assert_eq!(
        refused(&plain, |_, egress| egress.image = None),
        "egress.image must be configured when networkPolicy is provided."
    );
    check(&plain, &options(|o, _| o.secure_kind = Some(SecureKind::Kata))).unwrap();
    check(&CreateRequest::default(), &DockerOptions::default()).unwrap();
}

#[test]
fn a_proxy_behind_the_sidecar_needs_what_it_inspects() {
    let with = |_: &mut DockerOptions, egress: &mut Egress| *egress = egress::tests::with_upstream();
    assert!(refused(&request(&[]), with).starts_with("egress.upstream_proxy is configured, so sandboxes with network"));
    check(&CreateRequest { credential_proxy: true, ..request(&[]) }, &options(with)).unwrap();
}

#[test]
fn the_sidecar_is_made_as_the_peer_makes_it() {
    let options = options(|options, egress| {
        options.publish_host = Ipv4Addr::LOCALHOST;
        *egress = egress::tests::with_upstream();
        egress.otlp_endpoint = Some(Secret::new("http://collector"));
    });
    let request = CreateRequest { credential_proxy: true, ..request(&[]) };
    let env: Vec<Variable> =
        [(TRANSPARENT, Some("false")), ("OPENSANDBOX_EGRESS_LOG_LEVEL", Some("debug")), ("X", None)]
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
            .to_vec();
    let wanted = Wanted::new(&request, &env, &options).unwrap().unwrap();
    assert_eq!(wanted.transparent.as_deref(), Some("OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT=true"));
    let ports = HostPorts::reserve(&Ports::new(23_200..=23_299, Ipv4Addr::LOCALHOST), [EXECD, HTTP, EGRESS]).unwrap();
    let body = start::body("x", &wanted, &Secret::new("t0k"), &ports, &options);
    let expected = [
        "OPENSANDBOX_EGRESS_RULES={\"egress\": []}",
        "OPENSANDBOX_EGRESS_MODE=dns+nft",
        "OPENSANDBOX_EGRESS_TOKEN=t0k",
        "OPENSANDBOX_EGRESS_SANDBOX_ID=x",
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector",
        "OPENSANDBOX_EGRESS_UPSTREAM_PROXY=http://proxy:3128",
        "OPENSANDBOX_EGRESS_UPSTREAM_PROXY_AUTH=Basic x",
        "OPENSANDBOX_EGRESS_MITMPROXY_UPSTREAM_EXTRA_CA=/etc/ssl/certs/opensandbox-upstream-extra-ca.pem",
        "OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT=true",
        "OPENSANDBOX_EGRESS_LOG_LEVEL=debug",
    ];
    assert_eq!(body.env.unwrap(), expected);
    assert_eq!(body.labels.unwrap()[labels::SIDECAR_FOR], "x");
    assert_eq!(body.exposed_ports.unwrap(), ["44772/tcp", "8080/tcp", "18080/tcp"]);
    let host = body.host_config.unwrap();
    assert_eq!(
        (host.network_mode.as_deref(), host.cap_add.unwrap().join(",")),
        (Some("bridge"), "NET_ADMIN".to_owned())
    );
    let ca = "/etc/ca.pem:/etc/ssl/certs/opensandbox-upstream-extra-ca.pem:ro";
    assert_eq!(host.binds.unwrap(), ["opensandbox-runtime-x:/opt/opensandbox:rw", ca]);
    assert_eq!(host.sysctls.unwrap().len(), 3);
    assert!(host.cap_drop.is_none() && host.pids_limit.is_none() && host.security_opt.is_none());
}
