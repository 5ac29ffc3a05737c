//! Two gateways behind a real nginx, with the block of docs/operate.md: each is restarted under load.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    Setup,
    proxy::Proxied,
    proxy_tunnel::{echo, handshake},
    support::{
        backend::Backend,
        client::{Client, get_once, request},
        eventually,
        gateway::free_port,
    },
};

struct Nginx {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Nginx {
    /// One in front of these ports; the block is that of docs/operate.md, without its addresses.
    async fn before(ports: [u16; 2]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let place = dir.path().display();
        let page = include_str!("../../docs/operate.md");
        let block = page.split_once("```nginx\n").expect("the page has a block").1.split_once("```").unwrap().0;
        let (upstream, location) = block.split_once("location ").expect("an upstream and a location");
        let upstream = upstream.replace("10.0.0.1:8080", &format!("127.0.0.1:{}", ports[0]));
        let upstream = upstream.replace("10.0.0.2:8080", &format!("127.0.0.1:{}", ports[1]));
        assert!(ports.iter().all(|port| upstream.contains(&port.to_string())), "{upstream}");
        let text = format!(
            "daemon off; pid {place}/pid; error_log {place}/error.log info; worker_processes 1;\n\
             events {{ worker_connections 1024; }}\nhttp {{ access_log off; client_body_temp_path {place}/b;\n\
             proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n\
             {upstream}\nserver {{ listen 127.0.0.1:{port}; location {location} }} }}\n"
        );
        let config = dir.path().join("nginx.conf");
        fs::write(&config, text).unwrap();
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-c"])
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()
            .expect("nginx is installed (scripts/test sees to it)");
        let nginx = Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), dir };
        eventually("nginx", Duration::from_secs(10), || std::net::TcpStream::connect(nginx.address).is_ok()).await;
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers; killed, it would leave them.
        let ended = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = (ended, self.child.wait());
        if std::thread::panicking() {
            eprintln!("---- nginx ----\n{}", fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_each_of_two_gateways_costs_no_request() {
    let setup = |port| Setup::process().port(port).server("shutdown_delay_seconds = 2");
    let ports = [free_port(), free_port()];
    let mut gateways = ports.map(|port| setup(port).start());
    let nginx = Nginx::before(ports).await;
    assert_eq!(get_once(nginx.address, "/v1/sandboxes").await.status(), 200);
    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..8)
        .map(|number| {
            let (address, done, answered) = (nginx.address, Arc::clone(&done), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut statuses = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let mut client = Client::connect(address).await;
                    // A POST is not asked twice by nginx, so it must not be lost once. This one is refused by its content.
                    for _ in 0..20 {
                        let (method, expected) = if number % 2 == 0 { ("GET", 200) } else { ("POST", 422) };
                        let lines = ["Content-Type: application/json"];
                        let body = if method == "POST" { "{}" } else { "" };
                        let answer = client.request(method, "/v1/sandboxes", &lines, body).await;
                        if answer.status() != expected {
                            statuses.push(answer.status());
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
                statuses
            })
        })
        .collect();
    // As many as are under load for a while.
    let more = async || {
        let before = answered.load(Ordering::Relaxed);
        eventually("more answers", Duration::from_secs(30), || answered.load(Ordering::Relaxed) > before + 500).await;
    };
    more().await;
    for (gateway, port) in gateways.iter_mut().zip(ports) {
        gateway.terminate();
        assert!(gateway.wait(Duration::from_secs(20)).success());
        *gateway = setup(port).start();
        more().await;
    }
    done.store(true, Ordering::Relaxed);
    for task in load {
        assert_eq!(task.await.unwrap(), [0_u16; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_and_large_uploads_pass() {
    let proxied = Proxied::start().await;
    let nginx = Nginx::before([proxied.address().port(); 2]).await;
    let echoing = Backend::start(echo).await;
    let mut client = Client::connect(nginx.address).await;
    client.send(handshake(&proxied.target(echoing.port, "/ws"))).await;
    assert_eq!(client.head().await.status, 101);
    client.send("ping-bye").await;
    assert!(client.raw_to_end().await.ends_with(b"ping-bye"));
    let counting = Backend::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let length = conn.body_of(&head).await.len().to_string();
            conn.answer("200 OK", &[], length.as_bytes()).await;
        }
    })
    .await;
    let body = "x".repeat(2 << 20);
    let counted = request(nginx.address, "PUT", &proxied.target(counting.port, "/"), &[], &body).await;
    assert_eq!((counted.status(), &counted.body[..]), (200, b"2097152".as_slice()));
}
