//! The table of docs/architecture.md, "Allowed dependencies", as data.

/// A crate, or a program and its library, with the rows of its modules.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: &'static str,
    /// The name that other crates use, and the root. A program has no name.
    pub(super) roots: &'static [(&'static str, &'static str)],
    /// The other workspace packages that all its modules may use.
    pub(super) may_use: &'static [&'static str],
    /// A current module and its name in the table, with its children.
    ///
    /// For a module below several lines, the longest path applies.
    pub(super) today: &'static [(&'static str, &'static str)],
    /// Items that every module may use: generated code.
    pub(super) shared: &'static [&'static str],
    /// A module and its allowed modules or items, like `log::LogRead`.
    ///
    /// Empty = the table has no rows for this package.
    pub(super) rows: &'static [(&'static str, &'static [&'static str])],
}

/// A row of a module that may use everything. No other row names such a module.
pub(super) const EVERYTHING: &[&str] = &["*"];
const NOTHING: &[&str] = &[];

/// The table's name for the root of a library or a program, which has no name of its own.
pub(super) const ROOT: &str = "main";

pub(super) const PACKAGES: [Package; 5] = [
    Package {
        name: "killfeed",
        roots: &[("killfeed", "src/lib.rs")],
        may_use: &[],
        today: &[("filter::set", "index")],
        // Generated from the proto files.
        shared: &["v1"],
        rows: &[
            ("id", NOTHING),
            ("cursor", NOTHING),
            ("killmail", NOTHING),
            ("backoff", NOTHING),
            ("filter", &["id", "killmail"]),
            ("index", &["filter::tree", "filter::facts"]),
            ("wire", &["cursor"]),
            ("client", &["cursor", "wire", "backoff"]),
            ("v1", NOTHING),
            (ROOT, EVERYTHING),
        ],
    },
    Package {
        name: "service",
        roots: &[("killfeed_service", "service/src/lib.rs")],
        may_use: &["killfeed"],
        // One module in the table: the whole crate.
        today: &[("", "service")],
        shared: &[],
        rows: &[("service", NOTHING)],
    },
    Package {
        name: "ingestor",
        roots: &[
            ("killfeed_ingestor", "ingestor/src/lib.rs"),
            ("", "ingestor/src/main.rs"),
        ],
        may_use: &["killfeed", "service"],
        today: &[
            ("feed::relay", "replication"),
            ("pipeline::relay", "replication"),
            ("backfill", "cli"),
            ("new_token", "cli"),
            ("progress", "cli"),
            ("reload", "run"),
        ],
        shared: &[],
        rows: &[
            ("health", NOTHING),
            ("parse", NOTHING),
            ("log", NOTHING),
            ("universe", NOTHING),
            ("listen", NOTHING),
            ("feed", &["parse", "health"]),
            ("enrich", &["universe"]),
            ("replication", &["log", "health"]),
            ("api", &["log::LogRead", "universe", "health"]),
            ("pipeline", &["feed", "parse", "enrich", "log", "health"]),
            ("grpc", &["api", "listen", "health"]),
            ("web", &["api", "listen", "health", "grpc::routes"]),
            ("run", EVERYTHING),
            ("cli", EVERYTHING),
            ("settings", EVERYTHING),
            ("metrics", EVERYTHING),
            (ROOT, EVERYTHING),
        ],
    },
    Package {
        name: "notifier",
        roots: &[
            ("killfeed_notifier", "notifier/src/lib.rs"),
            ("", "notifier/src/main.rs"),
        ],
        may_use: &["killfeed", "service"],
        // `discord::commands` becomes `discord::slash`, inside `discord`.
        today: &[
            ("commands", "api"),
            ("matching", "subscriptions"),
            ("shards", "model"),
            ("guilds", "run"),
            ("subcommands", "cli"),
        ],
        shared: &[],
        rows: &[
            ("model", NOTHING),
            ("database", &["model"]),
            ("render", &["model"]),
            ("ingestor", &["model"]),
            ("sink", &["model", "render"]),
            ("subscriptions", &["model", "database"]),
            ("outbox", &["model", "database"]),
            ("follow", &["model", "subscriptions", "outbox"]),
            ("deliver", &["model", "subscriptions", "outbox", "render", "sink"]),
            (
                "api",
                &["model", "subscriptions", "outbox", "render", "sink", "ingestor"],
            ),
            ("discord", &["model", "api", "render", "sink"]),
            ("admin", &["model", "api"]),
            ("run", EVERYTHING),
            ("cli", EVERYTHING),
            ("settings", EVERYTHING),
            ("metrics", EVERYTHING),
            (ROOT, EVERYTHING),
        ],
    },
    // Not a row of the table: only the rule for type names applies.
    Package {
        name: "tests/support",
        roots: &[("killfeed_support", "tests/support/lib.rs")],
        may_use: &[],
        today: &[],
        shared: &[],
        rows: &[],
    },
];

/// A crate, with all crates whose names start with it, and the files and folders that may use it.
pub(super) const CRATES: [(&str, &[&str]); 8] = [
    (
        "redb",
        &[
            "ingestor/src/log/embedded",
            "ingestor/src/universe/names",
            "ingestor/src/api/queues",
        ],
    ),
    ("async_nats", &["ingestor/src/log/jetstream"]),
    (
        "sled",
        &[
            "notifier/src/database",
            "notifier/src/outbox",
            "notifier/src/subscriptions/store",
        ],
    ),
    ("serenity", &["notifier/src/discord"]),
    ("axum", &["ingestor/src/web", "service/src/probes"]),
    ("opentelemetry", &["service/src/trace"]),
    (
        "clap",
        &[
            "service/src/settings",
            "ingestor/src/settings",
            "ingestor/src/cli",
            "notifier/src/settings",
            "notifier/src/cli",
        ],
    ),
    (
        "tonic",
        &[
            "src/client",
            "src/wire",
            // The generated messages, clients and servers.
            "src/lib",
            "ingestor/src/replication",
            "ingestor/src/grpc",
            "ingestor/src/web/grpc_web",
            "notifier/src/follow",
            "notifier/src/ingestor",
            "notifier/src/admin",
            "service/src/trace",
        ],
    ),
];

/// A file or folder, the paths of other crates that it must not use, and the reason.
pub(super) const PURE: [(&str, &[&str], &str); 4] = [
    (
        "src/id",
        &["tokio", "std::time::SystemTime", "std::time::Instant"],
        "uses no clock and no runtime",
    ),
    (
        "src/filter",
        &["tokio", "std::time::SystemTime::now", "std::time::Instant"],
        "uses no clock and no runtime",
    ),
    (
        "notifier/src/matching",
        &["std::time::SystemTime::now", "std::time::Instant", "std::fs", "tokio"],
        "receives the time as an argument and reads no disk",
    ),
    (
        "notifier/src/render",
        &["std::time::SystemTime::now", "std::time::Instant", "std::fs", "tokio"],
        "receives the time as an argument and reads no disk",
    ),
];

/// Type names that language.md keeps in several modules.
///
/// The code writes them with their module: `explain::Settings`.
pub(super) const QUALIFIED_NAMES: [&str; 6] = ["Arguments", "Fault", "Faults", "Message", "Settings", "Table"];

pub(super) const MAX_LINES: usize = 500;

/// Marks of unfinished work that no file may contain.
pub(super) const MARKS: [&str; 6] = ["todo!", "unimplemented!", "dbg!", "FIXME", "TODO", "allow(dead_code)"];
