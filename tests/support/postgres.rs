//! A database of one test's own in the PostgreSQL server that `scripts/postgres` takes care of.

use std::process::Command;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

/// A database; [`Database::remove`] removes it.
pub struct Database {
    name: String,
    admin: String,
}

impl Database {
    /// A new database without tables.
    pub async fn create() -> Self {
        let admin = server();
        let name = format!("t_{}", uuid::Uuid::new_v4().simple());
        let database = Self { name, admin };
        database.admin_query(format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    /// Its address, with the password.
    pub fn dsn(&self) -> String {
        self.admin.replace("/postgres", &format!("/{}", self.name))
    }

    /// The password in the address.
    pub fn password(&self) -> &'static str {
        "osb-tests"
    }

    /// The first column of the rows that a query gives.
    pub async fn texts(&self, query: &str) -> Vec<Option<String>> {
        let mut connection = PgConnection::connect(&self.dsn()).await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Removes it, whoever is connected.
    pub async fn remove(self) {
        self.admin_query(format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    async fn admin_query(&self, query: String) {
        let mut connection = PgConnection::connect(&self.admin).await.unwrap();
        sqlx::query(AssertSqlSafe(query)).execute(&mut connection).await.unwrap();
    }
}

fn server() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres");
    let output = Command::new(script).output().expect("scripts/postgres can be run");
    assert!(output.status.success(), "scripts/postgres: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
