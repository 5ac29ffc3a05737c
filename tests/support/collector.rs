//! An OpenTelemetry collector that keeps what it is sent.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{HistogramDataPoint, metric::Data},
    trace::v1::Span,
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
    /// The metrics that were sent.
    pub metrics: ExportMetricsServiceRequest,
    /// The spans that were sent.
    pub traces: ExportTraceServiceRequest,
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

    /// The spans of all deliveries so far.
    pub fn spans(&self) -> Vec<Span> {
        self.received().iter().flat_map(Delivery::spans).collect()
    }

    /// Waits for a span that is wished for; gives it.
    pub async fn span(&self, what: &str, is_wished: impl Fn(&Span) -> bool) -> Span {
        let find = || self.spans().into_iter().find(&is_wished);
        super::eventually(what, Duration::from_secs(20), || find().is_some()).await;
        find().unwrap()
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

    /// The spans.
    pub fn spans(&self) -> Vec<Span> {
        let scopes = self.traces.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// An attribute of the resource.
    pub fn resource(&self, key: &str) -> String {
        let of_metrics = self.metrics.resource_metrics.iter().map(|of| &of.resource);
        let of_spans = self.traces.resource_spans.iter().map(|of| &of.resource);
        let resource = of_metrics.chain(of_spans).next().unwrap().as_ref().unwrap();
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
        // Rotel compresses, whatever it is told.
        if field("content-encoding").is_some_and(|(_, encoding)| encoding == "gzip") {
            let mut whole = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut whole).unwrap();
            body = whole;
        }
        // All other paths are those of metrics.
        let (mut metrics, mut traces) = Default::default();
        if head[0].contains("/v1/traces") {
            traces = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
        } else {
            metrics = ExportMetricsServiceRequest::decode(&body[..]).expect("OTLP");
        }
        kept.lock().unwrap().push(Delivery { head, metrics, traces });
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
