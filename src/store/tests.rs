use super::*;

#[tokio::test]
async fn a_file_that_is_no_database_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "no database at all, and quite long enough to be one".repeat(100)).unwrap();
    let error = open(&StoreBackend::Sqlite { path: path.clone() }).await.map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("Cannot open the snapshot store {} (store.path): file is not a database", path.display())
    );
}
