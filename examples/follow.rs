//! Prints new killmails: `cargo run --example follow -- 'space:lowsec value>=1b'`.

use killfeed::client::{Client, EventKind, FollowOptions, Start};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let ingestor = std::env::var("KILLFEED_INGESTOR").unwrap_or_else(|_| "http://127.0.0.1:50051".into());
    let client = Client::builder().endpoint(ingestor).build()?;
    let filter = std::env::args().nth(1).unwrap_or_default();
    let mut events = client.follow(FollowOptions::new(filter, Start::Latest));
    loop {
        if let EventKind::Killmail(killmail) = events.next().await?.kind {
            println!("https://zkillboard.com/kill/{}/", killmail.killmail_id);
        }
    }
}
