//! The migrations, built into the program. Touches no database.
//!
//! `sqlx::migrate!` would do the same, but its crate compiles the Postgres driver and TLS a second time, for the build
//! host.

use std::sync::LazyLock;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The table that records which migrations were applied.
pub(super) const APPLIED_TABLE: &str = "course_sync_migrations";

/// A migration by its file name: `0001_outbox` is version 1, "outbox".
macro_rules! migration {
    ($name:literal) => {
        ($name, include_str!(concat!("../../migrations/", $name, ".sql")))
    };
}

/// Every file of `migrations/`, oldest first.
const MIGRATIONS: &[(&str, &str)] = &[
    migration!("0001_outbox"),
    migration!("0003_refused_by_schema"),
    migration!("0004_failures"),
    migration!("0006_doubts"),
    migration!("0007_refused_at_the_door"),
    migration!("0008_own_migrations"),
    migration!("0009_evidence"),
    migration!("0010_refused_when_written"),
    migration!("0011_one_write"),
    migration!("0012_restores"),
    migration!("0013_own_schema"),
    migration!("0014_wake_at_commit"),
    migration!("0015_bounded_rows"),
    migration!("0016_earlier_versions"),
    migration!("0017_changes"),
    migration!("0018_room_for_outcomes"),
    migration!("0019_attach"),
    migration!("0020_cheaper_claims"),
    migration!("0021_audits"),
];

/// Applies what a database lacks, and rejects one whose applied migrations differ from these.
pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let migrations = MIGRATIONS.iter().filter_map(|(name, sql)| parse(name, sql)).collect();
    let mut migrator = Migrator::with_migrations(migrations);
    // sqlx would take a session lock, which a pooler may hand to another client; `migrate` takes a transaction lock.
    migrator.set_locking(false);
    // The catalogue uses the same database, and may keep its own migrations in sqlx's default table.
    migrator.dangerous_set_table_name(APPLIED_TABLE);
    migrator
});

/// `None` if the name does not begin with a version; a test rules that out.
fn parse(name: &str, sql: &'static str) -> Option<Migration> {
    let (version, description) = name.split_once('_')?;
    let description = description.replace('_', " ").into();
    // The checksum is the SHA-384 of the text.
    Some(Migration::new(version.parse().ok()?, description, MigrationType::Simple, sql.into_sql_str(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sha384sum migrations/*`. Databases store these: a released file must not change.
    const CHECKSUMS: [(i64, &str, &str); 19] = [
        (
            1,
            "outbox",
            "0c114c662d3caf873d102c2a0d23200c218d0a729ddb17e836bf776e2966a371b6425d21b719f75525ec82f8283679ac",
        ),
        (
            3,
            "refused by schema",
            "ba6af4407035bf92b7aaba0db901394040fe203b60aca09905af3fa14ea3b469a086800fd9e81ac0873e4dc4530594e5",
        ),
        (
            4,
            "failures",
            "bddde4d74e71d6bd218cfeee1eeb6c9ff310b12c2bd4b8b899f2b74918d682b3f00096d6e8d87275c62f9002a5aea0b6",
        ),
        (
            6,
            "doubts",
            "7ab6dea4cac5a0fe7775996be65ff726a529a35586a9d44af186630c831408dfe59c84124da176f237376782127fae4e",
        ),
        (
            7,
            "refused at the door",
            "177e9c311320255bcf4a58e5f986cb06b7db3e18315255ae91024ce6ff8b26ff7e5011c6dd5fa76f58b5137c1070c151",
        ),
        (
            8,
            "own migrations",
            "b08a393e6e93f535eb66637ad49dc3a7e29fc3624383b71bd5958268624594522d1b0e2ed1d05896ea87956a604c7b45",
        ),
        (
            9,
            "evidence",
            "8d369e49364de4ae1573eacddd59e11d95006b42ebbc3a3284b9a9da1af18836031ed5e36357e57cbbfab641a3dcbff2",
        ),
        (
            10,
            "refused when written",
            "be46269c8fb1756b99a934d9181a3b047c11dd737ceb61601fc56e32bf9c0d135b43284617788da48e51ceb0edf95c97",
        ),
        (
            11,
            "one write",
            "9783c24d0e488cd7dcd9e0636aa80200ba9ef33efa6d11b47d62889471e978bde72c9c641357186f8818e99b3f33366f",
        ),
        (
            12,
            "restores",
            "a5acbe07d76b4e66aae7487552e4ea27b305204e5037c655f2ba400d75ed0e79aa6519cc0aaccc6e3221a36aa27c4e9f",
        ),
        (
            13,
            "own schema",
            "223b56f183e2168886c7f55b98e5b2c9fee8cf4c1622bd61f948663a039469e110bdf75c16ec3f59fb24a45d4a1ee39c",
        ),
        (
            14,
            "wake at commit",
            "6023007f070d5a1cfdd1c5b2a4a85f1d36561340082b80a2f18564ef78ff93f06cf5092316e66102286419473f223652",
        ),
        (
            15,
            "bounded rows",
            "c4c2258a72662f749880acff2de45ad7914946526659c9a34227aa6e37c8dffc6cbd10fe714294062448fef76739650b",
        ),
        (
            16,
            "earlier versions",
            "7e9a8e4dc5ef2b52a31ae39f07263070c4a5d31009fe80b37003bf32ade234af45c579c0901c3b471a28fd5c9e5b8d5e",
        ),
        (
            17,
            "changes",
            "bd7c6b6202da7782aa98a620285246c6e4d3b2c516f11f2ade6430548c8e96845f98d48784210412fe024eb7242c4d43",
        ),
        (
            18,
            "room for outcomes",
            "23a14fa6d90250fcee18ef424814c44f929acfe743d4c1fb5598e8332d6e323067c7240f0ac509066b2085088c91ca86",
        ),
        (
            19,
            "attach",
            "e0211407e4d47727ebd45e05ae7a24cc186d7c8189fbca4c209aaf145751157b3211b05258319fe0cc3cfc4ca1f4e3a8",
        ),
        (
            20,
            "cheaper claims",
            "a3b46b8a445029e209f9d5438bc313b8d013ff618d5972be07d7430014eadbf5609ea2e2e6d38dfbc461ec84a0e7ad42",
        ),
        (
            21,
            "audits",
            "1b1c93d333d19475f95afd903d2cc5e11b92c46fb907cb2445f20d7c0eae4d57d41dbe5d2e19fc88ec93069ce1492f9f",
        ),
    ];

    #[test]
    fn every_migration_file_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        let built_in: Vec<_> =
            MIGRATIONS.iter().map(|(name, sql)| (format!("{name}.sql"), (*sql).to_owned())).collect();
        assert!(files == built_in, "MIGRATIONS does not list exactly the files in migrations/");
        assert_eq!(MIGRATOR.iter().count(), MIGRATIONS.len(), "a file name does not begin with a version");
    }

    #[test]
    fn released_migrations_keep_version_description_and_checksum() {
        let migrations: Vec<_> = MIGRATOR
            .iter()
            .map(|migration| {
                let hex = |checksum: String, byte: &u8| checksum + format!("{byte:02x}").as_str();
                let checksum = migration.checksum.iter().fold(String::new(), hex);
                assert!(!migration.no_tx, "all migrations run in one transaction");
                (migration.version, migration.description.to_string(), checksum)
            })
            .collect();
        let expected = CHECKSUMS
            .map(|(version, description, checksum)| (version, description.to_owned(), checksum.to_owned()));
        assert_eq!(migrations, expected);
    }
}
