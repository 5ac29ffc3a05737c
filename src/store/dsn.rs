//! The address of a PostgreSQL database in the forms that users of libpq, psycopg and SQLAlchemy write:
//! `postgresql://user:password@host:port/db?sslmode=require`, the same with `postgresql+psycopg` or `postgres` before the
//! colon, and `host=… dbname=…`. No error shows any part of it, since any part may be the password.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use super::StoreError;

/// The parameters that mean something here. sqlx would log others with their values.
const KNOWN: [&str; 12] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// Reads an address. Without statements that stay prepared, so that a pooler between us and the database does no harm.
pub(super) fn options(dsn: &str) -> Result<PgConnectOptions, StoreError> {
    let dsn = dsn.trim();
    let url = match dsn.split_once("://") {
        Some((scheme, rest)) => from_url(scheme, rest)?,
        None => format!("postgresql://?{}", query(keywords(dsn).ok_or_else(unreadable)?)),
    };
    let options = PgConnectOptions::from_str(&url).map_err(|_| unreadable())?;
    Ok(options.statement_cache_capacity(0))
}

/// Where the database is, for a person.
pub(super) fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => format!("PostgreSQL at {} port {}", socket.display(), options.get_port()),
        None => format!("PostgreSQL at {} port {}", options.get_host(), options.get_port()),
    }
}

fn unreadable() -> StoreError {
    StoreError::new(
        "the PostgreSQL DSN cannot be read: it should look like postgresql://user:password@host:5432/database \
         (special characters percent-encoded), or host=… port=… dbname=… user=… password=…",
    )
}

/// The URL with parameters that are known here. SQLAlchemy has its driver after a plus.
fn from_url(scheme: &str, rest: &str) -> Result<String, StoreError> {
    let database = scheme.split('+').next().unwrap_or_default();
    if !["postgresql", "postgres"].iter().any(|name| database.eq_ignore_ascii_case(name)) {
        return Err(unreadable());
    }
    Ok(match rest.split_once('?') {
        Some((rest, parameters)) => {
            let parameters = form_urlencoded::parse(parameters.as_bytes()).into_owned().collect();
            format!("postgresql://{rest}?{}", query(parameters))
        }
        None => format!("postgresql://{rest}"),
    })
}

fn query(parameters: Vec<(String, String)>) -> String {
    let is_known = |(name, _): &(String, String)| {
        let known = KNOWN.contains(&name.as_str());
        if !known {
            tracing::debug!(name, "a parameter of the PostgreSQL DSN has no effect");
        }
        known
    };
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters.into_iter().filter(is_known)).finish()
}

/// `key=value` pairs by the rules of libpq: values with blanks are in `'`, and `\` takes the next character as it is.
fn keywords(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = value(after.trim_start())?;
        pairs.push((key.trim().to_owned(), value));
        rest = after.trim_start();
    }
    Some(pairs)
}

fn value(text: &str) -> Option<(String, &str)> {
    let (quoted, text) = text.strip_prefix('\'').map_or((false, text), |text| (true, text));
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if quoted => return Some((value, &text[at + 1..])),
            blank if !quoted && blank.is_whitespace() => return Some((value, &text[at..])),
            other => value.push(other),
        }
    }
    (!quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dsn: &str) -> (String, u16, String, Option<String>) {
        let options = options(dsn).unwrap();
        let database = options.get_database().map(str::to_owned);
        (options.get_host().to_owned(), options.get_port(), options.get_username().to_owned(), database)
    }

    #[test]
    fn all_forms_name_the_same_database() {
        let expected = ("db.example".to_owned(), 5433, "al ice".to_owned(), Some("snaps".to_owned()));
        for dsn in [
            "postgresql://al%20ice:p%40ss@db.example:5433/snaps",
            "postgres://al%20ice:p%40ss@db.example:5433/snaps?connect_timeout=5&sslmode=disable",
            "postgresql+psycopg://al%20ice:p%40ss@db.example:5433/snaps",
            "postgresql://?host=db.example&port=5433&user=al+ice&dbname=snaps",
            "host=db.example port = 5433 user='al ice' password=p\\'ss dbname=snaps connect_timeout=5",
        ] {
            assert_eq!(read(dsn), expected, "{dsn}");
        }
    }

    #[test]
    fn a_socket_s_folder_is_a_host() {
        for dsn in ["postgresql:///snaps?host=/run/pg&port=7", "host=/run/pg port=7 dbname=snaps"] {
            let options = options(dsn).unwrap();
            assert_eq!(place(&options), "PostgreSQL at /run/pg port 7");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        for dsn in [
            "mysql://u:s3cr@h/d",
            "s3cr",
            "postgresql://u:s3cr@h:port/d",
            "host=h password='s3cr",
            "host=h port=s3cr",
            "postgresql://u@h/d?sslmode=s3cr",
        ] {
            let error = options(dsn).unwrap_err().to_string();
            assert!(error.starts_with("the PostgreSQL DSN cannot be read") && !error.contains("s3cr"), "{error}");
        }
    }
}
