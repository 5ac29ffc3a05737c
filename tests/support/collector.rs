//! An OpenTelemetry collector that keeps what it is sent.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{HistogramDataPoint, metric::Data},
};
use prost::Message as _;

/// A collector on a port of its own.
pub struct Collector {
    port: u16,
    received: Arc<Mutex<Vec<Delivery>>>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The head's lines, the request line first.
    pub head: Vec<String>,
    /// What was sent.
    pub metrics: ExportMetricsServiceRequest,
}

impl Collector {
    /// Listens, and answers each request with this status line, such as `200 OK`.
    pub fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::<Mutex<Vec<Delivery>>>::default();
        let kept = Arc::clone(&received);
        thread::spawn(move || {
            for io in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(io, status, &kept));
            }
        });
        Self { port, received }
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What has been received so far.
    pub fn received(&self) -> Vec<Delivery> {
        self.received.lock().unwrap().clone()
    }
}

impl Delivery {
    /// The points of a histogram.
    pub fn points(&self, name: &str) -> Vec<HistogramDataPoint> {
        let scopes = self.metrics.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let named = scopes.flat_map(|scope| &scope.metrics).filter(|metric| metric.name == name);
        let points = named.filter_map(|metric| match &metric.data {
            Some(Data::Histogram(histogram)) => Some(histogram.data_points.clone()),
            _ => None,
        });
        points.flatten().collect()
    }

    /// An attribute of the resource.
    pub fn resource(&self, key: &str) -> String {
        let resource = self.metrics.resource_metrics[0].resource.as_ref().unwrap();
        attribute(&resource.attributes, key)
    }
}

/// An attribute's value as text; empty without it.
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone());
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        _ => String::new(),
    }
}

fn serve(io: TcpStream, status: &str, kept: &Mutex<Vec<Delivery>>) {
    let mut reader = BufReader::new(io);
    while let Some(head) = read_head(&mut reader) {
        let field = |name: &str| {
            head.iter().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))
        };
        let length = field("content-length").map_or(0, |(_, length)| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let metrics = ExportMetricsServiceRequest::decode(&body[..]).expect("OTLP");
        kept.lock().unwrap().push(Delivery { head, metrics });
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        // A gateway that is ending may be gone already.
        let _ = reader.get_mut().write_all(answer.as_bytes());
    }
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) if line == "\r\n" => return Some(lines),
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
}
