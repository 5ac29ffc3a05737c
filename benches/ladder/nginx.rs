//! nginx as a relay of the framed stream, unread.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use crate::process::in_session;

/// An nginx that runs until this is dropped.
pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Nginx {
    /// Relays to the unix socket with `proxy_buffering on` and buffers of 64 KiB.
    pub fn start(socket: &str) -> Self {
        Self::before(&format!("unix:{socket}"), "", "")
    }

    /// Speaks TLS with this certificate, and relays to the HTTP server at `server` in the same way.
    pub fn with_tls(server: &str, cert: &Path, key: &Path) -> Self {
        let (cert, key) = (cert.display(), key.display());
        let files = format!("ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;");
        Self::before(server, " ssl http2", &files)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn before(server: &str, listen: &str, lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = dir.path().display();
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f;\n\
             uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             server {{ listen {address}{listen}; {lines} location / {{ proxy_pass http://{server}; proxy_http_version 1.1;\n\
             proxy_buffering on; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;\n\
             proxy_max_temp_file_size 0; proxy_read_timeout 600s; }} }} }}\n"
        );
        let file = dir.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut command = in_session("nginx");
        let command = command.arg("-c").arg(&file).arg("-p").arg(dir.path()).stderr(Stdio::null());
        let child = command.spawn().expect("nginx is installed (scripts/bench does it)");
        while TcpStream::connect(address).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        Self { child, address, _dir: dir }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
