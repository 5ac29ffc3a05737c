//! The limit: a relay that moves every byte once in and once out, 64 KiB at a time, and reads none of them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

const BUFFER: usize = 64 * 1024;

/// Relays connections to the unix socket until it is killed.
pub fn run(socket: &str) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (client, _) = listener.accept().await.unwrap();
            client.set_nodelay(true).unwrap();
            tokio::spawn(relay(client, UnixStream::connect(socket).await.unwrap()));
        }
    });
}

async fn relay(mut client: TcpStream, mut engine: UnixStream) {
    let mut buf = vec![0; BUFFER];
    let request = client.read(&mut buf).await.unwrap();
    engine.write_all(&buf[..request]).await.unwrap();
    loop {
        match engine.read(&mut buf).await.unwrap() {
            0 => return,
            n if client.write_all(&buf[..n]).await.is_err() => return,
            _ => {}
        }
    }
}
