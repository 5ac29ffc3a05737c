//! Files that a client sends: `multipart/form-data`, in pairs of a part `metadata` (JSON) and a part `file`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{Response, StatusCode, request::Parts};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde::Deserialize;

use super::{Context, blocking};
use crate::{
    api::extract::content_type,
    body::Body,
    error::Error,
    error_chain,
    execd::{
        error,
        files::{change::Attributes, write::Upload},
    },
    problem::ApiError,
    response,
};

/// The longest upload, in bytes: all files of a request together.
const MAX_UPLOAD: u64 = 64 * 1024 * 1024 * 1024;

/// The longest metadata, in bytes.
const MAX_METADATA: u64 = 64 * 1024;

/// How many files a request may have.
const MAX_FILES: usize = 1000;

/// How long a client may send nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How much is gathered before it is written, in bytes.
const WRITE_BUFFER: usize = 256 * 1024;

#[derive(Deserialize)]
struct Metadata {
    path: String,
    #[serde(flatten)]
    attributes: Attributes,
}

/// Receives files. Each is put into its place when it is whole; those before one that fails stay.
pub(super) async fn receive(context: &Context, head: &Parts, body: Incoming) -> Result<Response<Body>, ApiError> {
    let content_type = content_type(&head.headers).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type)
        .map_err(|_| error::invalid("Content-Type: it must be multipart/form-data with a boundary."))?;
    let limits = SizeLimit::new().whole_stream(MAX_UPLOAD).for_field("metadata", MAX_METADATA);
    let stream = BodyDataStream::new(body).map(|piece| piece.map_err(|error| error_chain::text(&error)));
    let mut parts = Multipart::with_constraints(stream, boundary, Constraints::new().size_limit(limits));
    let (mut metadata, mut count) = (None, 0);
    while let Some(part) = in_time(parts.next_field()).await? {
        match part.name() {
            Some("metadata") if metadata.is_none() => metadata = Some(read_metadata(part).await?),
            Some("file") => {
                let missing = || error::invalid("file: its metadata must come before it.");
                store(context, metadata.take().ok_or_else(missing)?, part).await?;
                count += 1;
            }
            Some("metadata") => return Err(error::invalid("metadata: its file must come behind it.").into()),
            name => {
                let text = format!("The part {:?} is neither metadata nor file.", name.unwrap_or_default());
                return Err(error::invalid(text).into());
            }
        }
        if count > MAX_FILES {
            return Err(error::invalid(format!("A request may have at most {MAX_FILES} files.")).into());
        }
    }
    match (metadata, count) {
        (Some(_), _) => Err(error::invalid("metadata: its file is missing.").into()),
        (None, 0) => Err(error::invalid("There is no file in the request.").into()),
        (None, _) => Ok(response::empty(StatusCode::OK)),
    }
}

async fn read_metadata(part: Field<'_>) -> Result<Metadata, ApiError> {
    let bytes = in_time(part.bytes()).await?;
    Ok(serde_json::from_slice(&bytes).map_err(|error| error::invalid(format!("metadata: {error}.")))?)
}

async fn store(
    context: &Context,
    Metadata { path, attributes }: Metadata,
    mut part: Field<'_>,
) -> Result<(), ApiError> {
    let mut upload = blocking(context, move |execd| Upload::begin(&execd.path(&path)?, attributes.rights()?)).await?;
    let mut gathered = BytesMut::new();
    while let Some(piece) = in_time(part.chunk()).await? {
        gathered.extend_from_slice(&piece);
        if gathered.len() >= WRITE_BUFFER {
            upload = write(context, upload, gathered.split().freeze()).await?;
        }
    }
    let upload = write(context, upload, gathered.freeze()).await?;
    Ok(blocking(context, |_| upload.finish()).await?)
}

async fn write(context: &Context, mut upload: Upload, bytes: Bytes) -> Result<Upload, Error> {
    blocking(context, move |_| upload.write(&bytes).map(|()| upload)).await
}

/// Waits for more of the request, but not for ever.
async fn in_time<T>(more: impl Future<Output = multer::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(IDLE_TIMEOUT, more).await {
        Ok(Ok(more)) => Ok(more),
        Ok(Err(multer::Error::StreamReadFailed(error))) => Err(ApiError::body_unreadable(error)),
        Ok(Err(error)) => Err(error::invalid(format!("The request's body: {error}.")).into()),
        Err(_) => Err(ApiError::body_unreadable(format_args!("nothing came for {} s", IDLE_TIMEOUT.as_secs()))),
    }
}
