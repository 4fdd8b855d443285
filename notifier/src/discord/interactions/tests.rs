use std::sync::Mutex;

use super::{answer::RespondError, *};

/// Records each response with the time since the interaction, in milliseconds.
struct FakeResponder {
    start: Instant,
    deferral: fn() -> Result<(), RespondError>,
    sent: Mutex<Vec<(&'static str, u128)>>,
}

impl FakeResponder {
    fn new(deferral: fn() -> Result<(), RespondError>) -> Self {
        Self {
            start: Instant::now(),
            deferral,
            sent: Mutex::default(),
        }
    }

    fn record(&self, what: &'static str) {
        self.sent.lock().unwrap().push((what, self.start.elapsed().as_millis()));
    }
}

impl Respond for FakeResponder {
    async fn respond(&self, _: &Invocation, _: &InteractionResponse) -> Result<(), RespondError> {
        self.record("first");
        Ok(())
    }

    async fn defer(&self, _: &Invocation, _: bool) -> Result<(), RespondError> {
        self.record("defer");
        (self.deferral)()
    }

    async fn edit_response(&self, _: &Invocation, _: &Reply) -> Result<(), RespondError> {
        self.record("later");
        Ok(())
    }
}

fn lost() -> Result<(), RespondError> {
    Err(RespondError::Lost("timed out".to_owned()))
}

fn rejected() -> Result<(), RespondError> {
    Err(RespondError::Rejected {
        status: 404,
        code: 10_062,
        message: "Unknown interaction".to_owned(),
    })
}

/// Returns the responses to a command of this duration, and whether the last one arrived.
async fn sent(duration: Duration, deferral: fn() -> Result<(), RespondError>) -> (Vec<(&'static str, u128)>, bool) {
    let call = Invocation {
        id: 1,
        token: "token".to_owned(),
        application: 2,
        guild: 3,
        channel: 4,
        user: 5,
        roles: vec![],
        permissions: None,
        bot_permissions: None,
        what: InvocationKind::Command(CommandOptions::default()),
    };
    let responder = FakeResponder::new(deferral);
    let work = async {
        tokio::time::sleep(duration).await;
        Ok(InteractionResponse::Say(Reply::default()))
    };
    let responded = respond(&responder, &call, responder.start, work).await.unwrap();
    (responder.sent.into_inner().unwrap(), responded.is_ok())
}

#[tokio::test(start_paused = true)]
async fn fast_command_gets_a_response_without_a_deferral() {
    let duration = DEFER_AFTER - Duration::from_millis(1);
    assert_eq!(sent(duration, || Ok(())).await, (vec![("first", 1_499)], true));
}

/// Discord waits 3 s for the first response: half of that remains for the network.
#[tokio::test(start_paused = true)]
async fn slow_command_is_deferred_after_half_of_three_seconds() {
    let (sent, arrived) = sent(Duration::from_secs(10), || Ok(())).await;
    assert_eq!(sent, [("defer", 1_500), ("later", 10_000)]);
    assert!(arrived);
}

#[tokio::test(start_paused = true)]
async fn reply_is_sent_when_the_deferral_times_out() {
    let (sent, arrived) = sent(Duration::from_secs(10), lost).await;
    assert_eq!(sent, [("defer", 1_500), ("later", 10_000)]);
    assert!(arrived);
}

#[tokio::test(start_paused = true)]
async fn reply_is_dropped_when_the_deferral_is_rejected() {
    let (sent, arrived) = sent(Duration::from_secs(10), rejected).await;
    assert_eq!(sent, [("defer", 1_500)]);
    assert!(!arrived);
}

#[tokio::test(start_paused = true)]
async fn command_is_given_up_before_its_token_expires() {
    let (sent, _) = sent(Duration::from_secs(3_600), || Ok(())).await;
    assert_eq!(sent, [("defer", 1_500), ("later", INTERACTION_TIMEOUT.as_millis())]);
}

#[tokio::test(start_paused = true)]
async fn autocomplete_is_empty_when_it_takes_too_long() {
    let start = Instant::now();
    let answer = choices(start, std::future::pending()).await;
    assert!(matches!(answer, InteractionResponse::Choices(choices) if choices.is_empty()));
    // Discord waits 3 s for this one too.
    assert_eq!(start.elapsed(), AUTOCOMPLETE_TIMEOUT);
    assert!(AUTOCOMPLETE_TIMEOUT < Duration::from_secs(3) / 2);
}
