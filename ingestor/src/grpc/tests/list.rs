//! `ListKillmails`: pages, counts, revisions.

use std::sync::Arc;

use killfeed::{
    Timestamp,
    v1::{ListKillmailsRequest, ListKillmailsResponse, killmail_service_client::KillmailServiceClient},
};
use tonic::{Code, transport::Channel};

use super::{FakeLog, GrpcSettings, Harness};

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn request(filter: &str) -> ListKillmailsRequest {
    ListKillmailsRequest {
        filter: filter.into(),
        ..Default::default()
    }
}

fn ids(page: &ListKillmailsResponse) -> Vec<u64> {
    page.killmails.iter().map(|killmail| killmail.killmail_id).collect()
}

async fn start(log: Arc<FakeLog>) -> (Harness, KillmailServiceClient<Channel>) {
    let settings = GrpcSettings {
        max_calls: 1_000_000,
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, log).await;
    let client = harness.client().await;
    (harness, client)
}

/// All pages of a list.
async fn all(client: &mut KillmailServiceClient<Channel>, request: ListKillmailsRequest) -> Vec<ListKillmailsResponse> {
    let mut pages: Vec<ListKillmailsResponse> = Vec::new();
    loop {
        let page_token = pages
            .last()
            .map(|page| page.next_page_token.clone())
            .unwrap_or_default();
        let request = ListKillmailsRequest {
            page_token,
            ..request.clone()
        };
        let page = client.list_killmails(request).await.unwrap().into_inner();
        let end = page.next_page_token.is_empty();
        pages.push(page);
        if end {
            return pages;
        }
    }
}

#[tokio::test]
async fn newest_first_and_within_bounds() {
    let log = FakeLog::of(9);
    log.trim(10);
    log.gap();
    let (_harness, mut client) = start(log).await;
    for (filter, since, until, expected) in [
        ("", None, None, vec![9, 8, 7, 6, 5, 4, 3, 2]),
        ("npc", None, None, vec![8, 6, 4, 2]),
        ("", at(4), at(6), vec![5, 4]),
        ("", at(0), at(3), vec![2]),
        ("", at(8), at(1_000), vec![9, 8]),
        ("", at(6), at(6), vec![]),
        ("", at(7), at(3), vec![]),
        ("npc", at(1_000), None, vec![]),
    ] {
        let request = ListKillmailsRequest {
            since,
            until,
            ..request(filter)
        };
        let page = client.list_killmails(request.clone()).await.unwrap().into_inner();
        assert_eq!(ids(&page), expected, "{request:?}");
        assert_eq!((page.next_page_token.as_str(), page.matched), ("", 0));
        let counting = ListKillmailsRequest {
            count_only: true,
            ..request
        };
        let counted = client.list_killmails(counting).await.unwrap().into_inner();
        assert_eq!((counted.matched, counted.killmails.len()), (expected.len() as u64, 0));
    }
}

#[tokio::test]
async fn pages_are_of_the_log_as_the_first_one_saw_it() {
    let log = FakeLog::of(120);
    let (_harness, mut client) = start(log.clone()).await;
    let first = client.list_killmails(request("")).await.unwrap().into_inner();
    assert!(ids(&first).into_iter().eq((71..=120).rev()), "50 is the default");
    // What comes between the pages changes nothing: not new killmails, not new revisions of old ones.
    log.more(3);
    log.killmail(60, 1);
    let next = ListKillmailsRequest {
        page_token: first.next_page_token.clone(),
        page_size: 1_000,
        ..request("")
    };
    let second = client.list_killmails(next).await.unwrap().into_inner();
    assert!(ids(&second).into_iter().eq((1..=70).rev()));
    assert_eq!(second.next_page_token, "");
    assert!(second.killmails.iter().all(|killmail| killmail.revision == 0));
    let pages = all(
        &mut client,
        ListKillmailsRequest {
            page_size: 7,
            ..request("npc")
        },
    )
    .await;
    let listed: Vec<u64> = pages.iter().flat_map(ids).collect();
    assert_eq!(listed[..3], [60, 122, 120]);
    assert_eq!(listed.len(), 61);
    assert!(pages.iter().all(|page| page.killmails.len() <= 7));
}

#[tokio::test]
async fn a_killmail_is_listed_once_where_its_newest_revision_stands() {
    let log = FakeLog::of(3);
    log.killmail(2, 1);
    log.killmail(4, 0);
    log.killmail(1, 1);
    log.killmail(2, 2);
    let (_harness, mut client) = start(log).await;
    let page = client.list_killmails(request("")).await.unwrap().into_inner();
    let listed: Vec<(u64, u32)> = page.killmails.iter().map(|k| (k.killmail_id, k.revision)).collect();
    assert_eq!(listed, [(2, 2), (1, 1), (4, 0), (3, 0)]);
    // Killmails 1 and 2 were changed later than this range, so they do not belong to it.
    let early = ListKillmailsRequest {
        until: at(5),
        ..request("")
    };
    assert_eq!(
        ids(&client.list_killmails(early.clone()).await.unwrap().into_inner()),
        [3]
    );
    for (request, expected) in [(request(""), 4), (early, 1)] {
        let counting = ListKillmailsRequest {
            count_only: true,
            ..request
        };
        assert_eq!(
            client.list_killmails(counting).await.unwrap().into_inner().matched,
            expected
        );
    }
}

#[tokio::test]
async fn a_page_ends_early_on_a_long_scan_and_the_list_does_not() {
    let log = FakeLog::new();
    log.killmail(2, 0);
    for id in 0..20_100 {
        log.killmail(2 * id + 1, 0);
    }
    let (_harness, mut client) = start(log).await;
    let pages: Vec<Vec<u64>> = all(&mut client, request("npc")).await.iter().map(ids).collect();
    assert_eq!(pages, [vec![], vec![2]]);
}

#[tokio::test]
async fn bad_requests_are_named() {
    use tonic_types::StatusExt as _;
    let log = FakeLog::of(99);
    let (_harness, mut client) = start(log).await;
    let token = client
        .list_killmails(request(""))
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    let with_token = |page_token: &str, filter: &str| ListKillmailsRequest {
        page_token: page_token.into(),
        ..request(filter)
    };
    let foreign = token.replace("l1-00", "l1-ff");
    let nanos = Some(Timestamp { seconds: 1, nanos: -1 });
    for (request, field) in [
        (
            ListKillmailsRequest {
                page_size: -1,
                ..request("")
            },
            "page_size",
        ),
        (
            ListKillmailsRequest {
                since: nanos,
                ..request("")
            },
            "since",
        ),
        (
            ListKillmailsRequest {
                until: nanos,
                ..request("")
            },
            "until",
        ),
        (request("bad"), "filter"),
        (with_token("what", ""), "page_token"),
        (with_token(&token, "npc"), "page_token"),
        (with_token(&foreign, ""), "page_token"),
        (
            ListKillmailsRequest {
                count_only: true,
                ..with_token(&token, "")
            },
            "page_token",
        ),
    ] {
        let status = client.list_killmails(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{request:?}");
        let details = status.get_error_details();
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            field,
            "{request:?}"
        );
    }
    client.list_killmails(with_token(&token, "")).await.unwrap();
}
